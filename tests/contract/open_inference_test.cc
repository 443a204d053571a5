// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/open_inference.h"

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"
#include "support/open_inference.h"

using inferwire::BFloat16;
using inferwire::DataType;
using inferwire::Float16;
using inferwire::InferRequest;
using inferwire::OpenInference;
using inferwire_test::Decoded;
using inferwire_test::Encoded;
namespace oip = inferwire::open_inference;

namespace {

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// A response of one output "x".
oip::ModelInferResponse Response(const std::string& datatype, std::vector<std::int64_t> shape) {
  oip::ModelInferResponse response;
  auto* output = response.add_outputs();
  output->set_name("x");
  output->set_datatype(datatype);
  for (const std::int64_t dimension : shape) output->add_shape(dimension);
  return response;
}
oip::ModelInferResponse Raw(const std::string& datatype, std::vector<std::int64_t> shape, const std::string& bytes) {
  oip::ModelInferResponse response = Response(datatype, std::move(shape));
  response.add_raw_output_contents(bytes);
  return response;
}
std::string Prefixed(std::uint32_t length, const std::string& bytes) {
  return std::string(reinterpret_cast<const char*>(&length), 4) + bytes;
}

// What a request's only input looks like as an answer's only output.
template <class T>
void CheckRoundTrip(std::vector<T> elements) {
  const auto n = static_cast<std::int64_t>(elements.size());
  const auto message = Encoded({{"x", std::vector<T>(elements), {n}}});
  REQUIRE(message.ok());
  CHECK(message->inputs(0).datatype() == inferwire::DataTypeName(inferwire::DataTypeOf<T>));
  CHECK_FALSE(message->inputs(0).has_contents());
  const auto result = Decoded(Raw(message->inputs(0).datatype(), {n}, message->raw_input_contents(0)));
  REQUIRE(result.ok());
  using Read = std::conditional_t<std::is_same_v<T, std::string>, std::string_view, T>;
  const auto back = result->template Get<Read>("x");
  REQUIRE(back.ok());
  CHECK(std::vector<T>(back->begin(), back->end()) == elements);
}

}  // namespace

TEST_CASE("the protocol's methods are called under their public names", "[contract]") {
  CHECK(OpenInference::Infer::kPath == "/inference.GRPCInferenceService/ModelInfer");
  CHECK(OpenInference::ServerLive::kPath == "/inference.GRPCInferenceService/ServerLive");
  CHECK(OpenInference::ServerReady::kPath == "/inference.GRPCInferenceService/ServerReady");
  CHECK(OpenInference::ServerMetadata::kPath == "/inference.GRPCInferenceService/ServerMetadata");
  CHECK(OpenInference::ModelReady::kPath == "/inference.GRPCInferenceService/ModelReady");
  CHECK(OpenInference::ModelMetadata::kPath == "/inference.GRPCInferenceService/ModelMetadata");
}

TEST_CASE("every datatype survives the way out and back as raw contents", "[contract]") {
  CheckRoundTrip<bool>({true, false, true});
  CheckRoundTrip<std::int8_t>({-128, 0, 127});
  CheckRoundTrip<std::int16_t>({-32768, 32767});
  CheckRoundTrip<std::int32_t>({std::numeric_limits<std::int32_t>::min(), 7});
  CheckRoundTrip<std::int64_t>({std::numeric_limits<std::int64_t>::min(), 7});
  CheckRoundTrip<std::uint8_t>({0, 255});
  CheckRoundTrip<std::uint16_t>({0, 65535});
  CheckRoundTrip<std::uint32_t>({0, std::numeric_limits<std::uint32_t>::max()});
  CheckRoundTrip<std::uint64_t>({0, std::numeric_limits<std::uint64_t>::max()});
  CheckRoundTrip<float>({0.5f, -1e30f});
  CheckRoundTrip<double>({0.5, -1e300});
  CheckRoundTrip<Float16>({Float16(0.5f), Float16(-2.0f)});
  CheckRoundTrip<BFloat16>({BFloat16(0.5f), BFloat16(-2.0f)});
  CheckRoundTrip<std::string>({"", "a", std::string("\0\xff", 2), std::string(1000, 'x')});
  CheckRoundTrip<float>({});
  CheckRoundTrip<std::string>({});
}

TEST_CASE("a request carries its names, choices and parameters", "[contract]") {
  InferRequest request = {{"x", std::vector<float>{1}, {}}};
  request.set_model("m");
  request.set_version("2");
  request.set_id("id");
  request.set_outputs({"y", "z"});
  request.set_parameter("b", true);
  request.set_parameter("i", 5);
  request.set_parameter("d", 0.5);
  request.set_parameter("s", "text");
  const auto message = Encoded(request);
  REQUIRE(message.ok());
  CHECK(message->model_name() == "m");
  CHECK(message->model_version() == "2");
  CHECK(message->id() == "id");
  CHECK(message->outputs_size() == 2);
  CHECK(message->inputs(0).shape_size() == 0);
  CHECK(message->parameters().at("b").bool_param());
  CHECK(message->parameters().at("i").int64_param() == 5);
  CHECK(message->parameters().at("d").double_param() == 0.5);
  CHECK(message->parameters().at("s").string_param() == "text");
}

TEST_CASE("typed answers are read for every datatype that has them", "[contract]") {
  const auto fill = [](const std::string& datatype, const std::function<void(oip::InferTensorContents&)>& add) {
    oip::ModelInferResponse response = Response(datatype, {2});
    add(*response.mutable_outputs(0)->mutable_contents());
    auto result = Decoded(std::move(response));
    REQUIRE(result.ok());
    return result;
  };
  const auto ints = [](oip::InferTensorContents& c) { c.add_int_contents(-5), c.add_int_contents(100); };
  CHECK((*fill("INT8", ints)->Get<std::int8_t>("x"))[0] == -5);
  CHECK((*fill("INT16", ints)->Get<std::int16_t>("x"))[1] == 100);
  CHECK((*fill("INT32", ints)->Get<std::int32_t>("x"))[0] == -5);
  const auto uints = [](oip::InferTensorContents& c) { c.add_uint_contents(5), c.add_uint_contents(200); };
  CHECK((*fill("UINT8", uints)->Get<std::uint8_t>("x"))[1] == 200);
  CHECK((*fill("UINT16", uints)->Get<std::uint16_t>("x"))[1] == 200);
  CHECK((*fill("UINT32", uints)->Get<std::uint32_t>("x"))[0] == 5);
  CHECK((*fill("INT64", [](auto& c) {
            c.add_int64_contents(-1), c.add_int64_contents(2);
          })->Get<std::int64_t>("x"))[0] == -1);
  CHECK((*fill("UINT64", [](auto& c) {
            c.add_uint64_contents(1), c.add_uint64_contents(2);
          })->Get<std::uint64_t>("x"))[1] == 2);
  CHECK((*fill("BOOL", [](auto& c) { c.add_bool_contents(true), c.add_bool_contents(false); })->Get<bool>("x"))[0]);
  CHECK((*fill("FP32", [](auto& c) { c.add_fp32_contents(1), c.add_fp32_contents(2); })->Get<float>("x"))[1] == 2);
  CHECK((*fill("FP64", [](auto& c) { c.add_fp64_contents(1), c.add_fp64_contents(2); })->Get<double>("x"))[1] == 2);
  CHECK((*fill("BYTES", [](auto& c) {
            c.add_bytes_contents("a"), c.add_bytes_contents("");
          })->Get<std::string_view>("x"))[0] == "a");
}

TEST_CASE("an answer that contradicts itself is INTERNAL and says how", "[contract][trap]") {
  const auto [what, response] = GENERATE(table<std::string, oip::ModelInferResponse>({
      {"FP32 [2] does not take 4 bytes", Raw("FP32", {2}, "abcd")},
      {"FP32 [1] does not take 5 bytes", Raw("FP32", {1}, "abcde")},
      {"FP32 [0] does not take 4 bytes", Raw("FP32", {0}, "abcd")},
      {"negative dimension -1", Raw("FP32", {-1}, "abcd")},
      {"more than 2^63 - 1 elements", Raw("FP32", {1LL << 62, 1LL << 62}, "abcd")},
      {"does not take 4 bytes", Raw("FP64", {1LL << 61}, "abcd")},
      {"unknown datatype 'FLOAT'", Raw("FLOAT", {1}, "abcd")},
      {"unknown datatype ''", Raw("", {1}, "abcd")},
      {"neither 0 nor 1", Raw("BOOL", {1}, "\x02")},
      {"3 bytes are left over", Raw("BYTES", {1}, "abc")},
      {"claims 100 bytes where 3 are left", Raw("BYTES", {1}, Prefixed(100, "abc"))},
      {"claims 4294967295 bytes", Raw("BYTES", {1}, Prefixed(0xffffffff, "abc"))},
      {"2 bytes are left over", Raw("BYTES", {1}, Prefixed(1, "a") + "zz")},
      {"shape [1] holds 1 elements, but 2 were given", Raw("BYTES", {1}, Prefixed(1, "a") + Prefixed(1, "b"))},
      {"holds 1099511627776 elements, but 1 were given", Raw("BYTES", {1LL << 40}, Prefixed(1, "a"))},
      {"shape [2] holds 2 elements, but 1 were given", Raw("BYTES", {2}, Prefixed(4, "abcd"))},
      {"FP16 exists only as raw contents", Response("FP16", {1})},
      {"BF16 exists only as raw contents", Response("BF16", {1})},
      {"shape [3] holds 3 elements, but 0 were given", Response("FP32", {3})},
      {"300 is no INT8",
       [] {
         auto r = Response("INT8", {1});
         r.mutable_outputs(0)->mutable_contents()->add_int_contents(300);
         return r;
       }()},
      {"65536 is no UINT16",
       [] {
         auto r = Response("UINT16", {1});
         r.mutable_outputs(0)->mutable_contents()->add_uint_contents(65536);
         return r;
       }()},
      {"has raw and typed contents",
       [] {
         auto r = Raw("FP32", {1}, "abcd");
         r.mutable_outputs(0)->mutable_contents()->add_fp32_contents(1);
         return r;
       }()},
      {"1 outputs but 2 raw contents",
       [] {
         auto r = Raw("FP32", {1}, "abcd");
         r.add_raw_output_contents("efgh");
         return r;
       }()},
      {"was given twice",
       [] {
         auto r = Raw("FP32", {1}, "abcd");
         *r.add_outputs() = r.outputs(0);
         r.add_raw_output_contents("efgh");
         return r;
       }()},
  }));
  CAPTURE(what);
  const absl::Status status = Decoded(oip::ModelInferResponse(response)).status();
  CHECK(status.code() == absl::StatusCode::kInternal);
  CAPTURE(Message(status));
  CHECK(Message(status).find("the server's answer contradicts itself: ") == 0);
  CHECK(Message(status).find(what) != std::string::npos);
}

TEST_CASE("contents that hold nothing do no harm beside raw ones, as MLServer sends them", "[contract]") {
  oip::ModelInferResponse response = Raw("INT32", {1}, std::string("\x07\0\0\0", 4));
  response.mutable_outputs(0)->mutable_contents();
  const auto result = Decoded(std::move(response));
  REQUIRE(result.ok());
  const auto values = result->Get<std::int32_t>("x");
  REQUIRE(values.ok());
  CHECK(values->front() == 7);
}

TEST_CASE("an output in shared memory has no elements in the answer", "[contract]") {
  oip::ModelInferResponse response = Raw("FP32", {4}, "");
  (*response.mutable_outputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("region");
  const auto result = Decoded(std::move(response));
  REQUIRE(result.ok());
  CHECK(result->outputs().empty());
  REQUIRE(result->placed_outputs().size() == 1);
  CHECK(result->placed_outputs()[0].name == "x");
  CHECK(result->placed_outputs()[0].shape == inferwire::Shape{4});
  // Triton names no region.
  CHECK(Decoded(Raw("FP32", {4}, ""))->placed_outputs().size() == 1);
  CHECK(Decoded(Raw("BYTES", {2}, ""))->placed_outputs().size() == 1);
  CHECK(Decoded(Raw("FP32", {0}, ""))->placed_outputs().empty());
}

TEST_CASE("answers keep their parameters, also unsigned ones", "[contract]") {
  oip::ModelInferResponse response;
  auto& parameters = *response.mutable_parameters();
  parameters["b"].set_bool_param(true);
  parameters["i"].set_int64_param(-3);
  parameters["u"].set_uint64_param(3);
  parameters["big"].set_uint64_param(std::numeric_limits<std::uint64_t>::max());
  parameters["s"].set_string_param("x");
  parameters["none"];
  const auto result = Decoded(std::move(response));
  REQUIRE(result.ok());
  CHECK(std::get<bool>(result->parameters().at("b")));
  CHECK(std::get<std::int64_t>(result->parameters().at("i")) == -3);
  CHECK(std::get<std::int64_t>(result->parameters().at("u")) == 3);
  CHECK(std::get<double>(result->parameters().at("big")) > 1e19);
  CHECK(std::get<std::string>(result->parameters().at("s")) == "x");
  CHECK(result->parameters().count("none") == 0);
}

TEST_CASE("metadata is read, and refused where a datatype does not exist", "[contract]") {
  oip::ModelMetadataResponse response;
  response.set_name("digits");
  response.add_versions("1");
  auto* input = response.add_inputs();
  input->set_name("image");
  input->set_datatype("FP32");
  input->add_shape(-1);
  input->add_shape(64);
  const auto metadata = OpenInference::Decode(oip::ModelMetadataResponse(response));
  REQUIRE(metadata.ok());
  CHECK(metadata->inputs[0].shape.ToString() == "[-1,64]");
  input->set_datatype("FLOAT32");
  CHECK(OpenInference::Decode(std::move(response)).status().code() == absl::StatusCode::kInternal);
}

TEST_CASE("Triton's ways to say that it is about to go", "[contract][trap]") {
  const std::string stopping =
      "[request id: 7] Server is stopping, scheduler for model has stopped accepting new inference requests";
  CHECK(inferwire::OpenInference::Draining(absl::UnavailableError(stopping)));
  CHECK(inferwire::OpenInference::Draining(absl::UnknownError(stopping)));  // on a stream
  CHECK(inferwire::OpenInference::Draining(absl::NotFoundError("'m' has no available versions")));
  CHECK_FALSE(inferwire::OpenInference::Draining(absl::NotFoundError("unknown model: 'm'")));
  CHECK_FALSE(inferwire::OpenInference::Draining(absl::UnavailableError("busy")));
  CHECK(inferwire::OpenInference::Draining(
      absl::UnavailableError("GRPC server is shutting down and has stopped accepting new requests.")));
  CHECK(inferwire::OpenInference::Draining(
      absl::NotFoundError("Request for unknown model: 'm' has no available versions")));
}

TEST_CASE("a model that repeats such words is not about to go, nor are other servers", "[contract][trap]") {
  for (const auto* const words :
       {"the feature store has stopped accepting new inference requests",
        "upstream: Server is stopping, scheduler for model has stopped accepting new inference requests",
        "package 'm' has no available versions in the index"}) {
    CHECK_FALSE(inferwire::OpenInference::Draining(absl::UnavailableError(words)));
    CHECK_FALSE(inferwire::OpenInference::Draining(absl::NotFoundError(words)));
  }
  CHECK_FALSE(inferwire::OpenInference::Draining(
      absl::InternalError("Server is stopping, scheduler for model has stopped accepting new inference requests")));
  static_assert(inferwire::DetectsDraining<inferwire::TypedContents<inferwire::OpenInference>>);
  static_assert(!inferwire::DetectsDraining<inferwire::OpenInferenceKServe>);
  static_assert(!inferwire::DetectsDraining<inferwire::OpenInferenceMlServer>);
  static_assert(!inferwire::DetectsDraining<inferwire::OpenInferenceTorchServe>);
}
