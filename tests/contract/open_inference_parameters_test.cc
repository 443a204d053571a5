// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/contract/open_inference_parameters.h"

#include <limits>
#include <string>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "support/inference.h"
#include "support/open_inference.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

namespace {

InferRequest One() { return {{"x", std::vector<float>{1}, {1}}}; }

template <class C = OpenInference>
absl::Status Refusal(const InferRequest& request) {
  const absl::Status status = C::Encode(request).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  return status;
}

}  // namespace

TEST_CASE("what a request says of its schedule travels under the reserved names", "[contract]") {
  InferRequest request = One();
  request.set_priority(2);
  request.set_queue_timeout(absl::Microseconds(1500));
  request.set_sequence({.id = 7, .start = true});
  const auto message = Encoded(request);
  REQUIRE(message.ok());
  const auto& parameters = message->parameters();
  CHECK(parameters.size() == 4);
  CHECK(parameters.at("priority").int64_param() == 2);
  CHECK(parameters.at("timeout").int64_param() == 1500);
  CHECK(parameters.at("sequence_id").int64_param() == 7);
  CHECK(parameters.at("sequence_start").bool_param());

  request = One();
  request.set_sequence({.id = "chat", .end = true});
  request.set_queue_timeout(absl::Nanoseconds(1));  // rounded up: 0 would lift the limit
  const auto text = Encoded(request);
  REQUIRE(text.ok());
  CHECK(text->parameters().at("sequence_id").string_param() == "chat");
  CHECK(text->parameters().at("sequence_end").bool_param());
  CHECK(text->parameters().at("timeout").int64_param() == 1);
  CHECK(Encoded(One())->parameters().empty());
}

TEST_CASE("an output's classification and place, and a tensor's parameters, travel with it", "[contract]") {
  InferRequest request = {InferInput("a", {"region", 8, 64}, DataType::kFp32, {2}),
                          {"b", std::vector<float>{1}, {1}},
                          {"c", std::vector<std::string>{"x"}, {1}}};
  request.add_output({.name = "y", .classification = 3});
  request.add_output({.name = "z", .placement = SharedMemoryPlacement{"region", 100}, .parameters = {{"own", true}}});
  REQUIRE(request.Validate().ok());
  InferRequest copy = request;
  copy.add_input(InferInput("d", std::vector<float>{1}, {1}).set_parameter("content_type", "np"));
  const auto message = Encoded(copy);
  REQUIRE(message.ok());
  const auto& a = message->inputs(0).parameters();
  CHECK(a.at("shared_memory_region").string_param() == "region");
  CHECK(a.at("shared_memory_byte_size").int64_param() == 8);
  CHECK(a.at("shared_memory_offset").int64_param() == 64);
  CHECK(message->raw_input_contents_size() == 3);  // none for the one in shared memory
  CHECK(message->inputs(3).parameters().at("content_type").string_param() == "np");
  CHECK(message->outputs(0).parameters().at("classification").int64_param() == 3);
  const auto& z = message->outputs(1).parameters();
  CHECK(z.size() == 3);  // an offset of 0 is not said
  CHECK(z.at("own").bool_param());
  CHECK(OpenInference::EncodeHeader(copy)->raw_input_contents_size() == 0);
}

TEST_CASE("a reserved parameter with a value of the wrong kind is refused before it is sent", "[contract][trap]") {
  const auto [key, value] = GENERATE(table<std::string, Parameter>({
      {"sequence_id", true},
      {"sequence_id", 0.5},
      {"sequence_start", 1},
      {"sequence_end", "true"},
      {"priority", -1},
      {"priority", "1"},
      {"timeout", 0.5},
      {"timeout", -5},
      {"triton_enable_empty_final_response", 1},
      {"triton_final_response", true},
      {"triton_anything", 1},
      {"headers", "x"},
      {"binary_data_output", true},
  }));
  CAPTURE(key);
  InferRequest request = One();
  request.set_parameter(key, value);
  CHECK(Contains(Refusal(request), "'" + key + "'"));
}

TEST_CASE("a reserved parameter of the right kind is let through, but not beside its field", "[contract]") {
  InferRequest request = One();
  request.set_parameter("priority", 5);
  request.set_parameter("timeout", 1);
  request.set_parameter("sequence_id", "s");
  request.set_parameter("triton_enable_empty_final_response", true);
  CHECK(OpenInference::Encode(request).ok());
  request.set_priority(5);
  CHECK(Contains(Refusal(request), "'priority' was given as a field of the request and again"));
}

TEST_CASE("what belongs to a field of a tensor is no parameter of it", "[contract][trap]") {
  for (const char* key : {"shared_memory_region", "shared_memory_offset", "classification", "binary_data_size"}) {
    CAPTURE(key);
    CHECK(Contains(Refusal({InferInput("x", std::vector<float>{1}, {1}).set_parameter(key, 1)}), "input 'x'"));
    InferRequest request = One();
    request.add_output({.name = "y", .parameters = {{key, 1}}});
    CHECK(Contains(Refusal(request), "output 'y'"));
  }
}

TEST_CASE("servers that know no doubles are sent none", "[contract][trap]") {
  InferRequest request = One();
  request.set_parameter("ratio", 0.5);
  CHECK(OpenInference::Encode(request).ok());
  CHECK(Contains(Refusal<OpenInferenceMlServer>(request), "'ratio' is a double, which MLServer cannot read"));
  CHECK(Contains(Refusal<OpenInferenceKServe>(request), "KServe"));
  CHECK(Contains(Refusal<OpenInferenceTorchServe>(request), "TorchServe"));
  const InferRequest input = {InferInput("x", std::vector<float>{1}, {1}).set_parameter("d", 1.5)};
  CHECK(Contains(Refusal<OpenInferenceMlServer>(input), "'d'"));
}
