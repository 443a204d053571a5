// SPDX-License-Identifier: Apache-2.0
#include "inferwire/infer_request.h"

#include <array>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"

using inferwire::DataType;
using inferwire::InferInput;
using inferwire::InferRequest;

namespace {
std::string Message(const absl::Status& status) { return std::string(status.message()); }
}  // namespace

TEST_CASE("a span lends its memory: nothing is copied", "[tensor]") {
  const std::array<float, 64> pixels{};
  const InferRequest request = {{"image", std::span<const float>(pixels), {1, 64}}};
  const InferInput& input = request.inputs().front();
  CHECK(static_cast<const void*>(input.bytes().data()) == pixels.data());
  CHECK(input.bytes().size() == 256);
  CHECK(input.datatype() == DataType::kFp32);
  CHECK(request.Validate().ok());
  std::array<std::int32_t, 2> numbers{};
  CHECK(InferInput("n", std::span(numbers), {2}).bytes().data() == static_cast<void*>(numbers.data()));
}

TEST_CASE("spans of a fixed number of elements, of C arrays and of what may be changed lend as well", "[tensor]") {
  float pixels[4] = {1, 2, 3, 4};
  const InferRequest request = {{"c_array", std::span(pixels), {2, 2}},
                                {"fixed", std::span<const float, 4>(pixels), {4}},
                                {"const", std::span(std::as_const(pixels)), {4}},
                                {"scalar", std::span(&pixels[2], 1), {}}};
  REQUIRE(request.Validate().ok());
  for (const InferInput& input : request.inputs()) CHECK(input.datatype() == DataType::kFp32);
  CHECK(static_cast<const void*>(request.inputs()[0].bytes().data()) == pixels);
  CHECK(static_cast<const void*>(request.inputs()[1].bytes().data()) == pixels);
  CHECK(request.Get<float>("scalar")->front() == 3);
}

TEST_CASE("every element type goes by its datatype", "[tensor]") {
  const auto type = [](auto element) {
    const InferInput input("x", std::vector{element, element}, {2});
    CHECK(input.Validate().ok());
    CHECK(input.bytes().size() == 2 * inferwire::ElementSize(input.datatype()));
    return input.datatype();
  };
  CHECK(type(true) == DataType::kBool);
  CHECK(type(std::uint8_t{}) == DataType::kUint8);
  CHECK(type(std::uint16_t{}) == DataType::kUint16);
  CHECK(type(std::uint32_t{}) == DataType::kUint32);
  CHECK(type(std::uint64_t{}) == DataType::kUint64);
  CHECK(type(std::int8_t{}) == DataType::kInt8);
  CHECK(type(std::int16_t{}) == DataType::kInt16);
  CHECK(type(std::int32_t{}) == DataType::kInt32);
  CHECK(type(std::int64_t{}) == DataType::kInt64);
  CHECK(type(inferwire::Float16(1)) == DataType::kFp16);
  CHECK(type(inferwire::BFloat16(1)) == DataType::kBf16);
  CHECK(type(1.0f) == DataType::kFp32);
  CHECK(type(1.0) == DataType::kFp64);
  CHECK(type(std::byte{}) == DataType::kUint8);
  CHECK(type(std::string("s")) == DataType::kBytes);
}

TEST_CASE("a tensor whose type is known at run time is lent as bytes, or kept by its owner", "[tensor]") {
  alignas(8) std::array<std::byte, 24> bytes{};
  const InferInput lent = InferInput::FromBytes("x", DataType::kFp64, bytes, {3});
  CHECK(lent.Validate().ok());
  CHECK(lent.size() == 3);
  CHECK(static_cast<const void*>(lent.bytes().data()) == bytes.data());
  const auto owner = std::make_shared<int>(0);
  {
    const InferInput owned = InferInput::FromBytes("x", DataType::kInt8, bytes, {4, 6}, owner);
    CHECK(owned.Validate().ok());
    CHECK(owner.use_count() == 2);
  }
  CHECK(owner.use_count() == 1);
  CHECK(Message(InferInput::FromBytes("x", DataType::kFp32, std::span(bytes).first(7), {1}).Validate()) ==
        "input 'x': 7 bytes are no whole number of FP32 elements");
  CHECK(Message(InferInput::FromBytes("x", DataType::kBytes, {}, {0}).Validate()) ==
        "input 'x': 0 bytes are no whole number of BYTES elements");
  CHECK(Message(InferRequest{InferInput::Refused("x", "it lies on a device")}.Validate()) ==
        "input 'x': it lies on a device");
}

TEST_CASE("an rvalue container is owned by the request and by its copies", "[tensor]") {
  std::vector<double> values{1, 2, 3};
  const double* const data = values.data();
  auto request = std::make_unique<InferRequest>(InferRequest{{"x", std::move(values), {3}}});
  CHECK(request->Get<double>("x")->data() == data);
  const InferRequest copy = *request;
  request.reset();
  CHECK((*copy.Get<double>("x"))[2] == 3);
  const InferInput array("a", std::array<std::int8_t, 2>{1, 2}, {2});
  CHECK(array.datatype() == DataType::kInt8);
  CHECK(array.size() == 2);
}

TEST_CASE("a shared container is shared", "[tensor]") {
  const auto values = std::make_shared<std::vector<std::int64_t>>(5, 7);
  {
    const InferRequest request = {{"x", values, {5}}};
    CHECK(values.use_count() == 2);
    CHECK((*request.Get<std::int64_t>("x"))[4] == 7);
  }
  CHECK(values.use_count() == 1);
  const InferInput null("x", std::shared_ptr<std::vector<float>>(), {1});
  CHECK(Message(null.Validate()) == "input 'x': shape [1] holds 1 elements, but 0 were given");
}

TEST_CASE("strings make a BYTES tensor, and packed bits a BOOL one", "[tensor]") {
  const InferRequest request = {{"prompt", std::vector<std::string>{"Once upon"}, {1}},
                                {"mask", std::vector<bool>{true, false, true}, {3}},
                                {"views", std::vector<std::string_view>{"a", "b"}, {2}}};
  REQUIRE(request.Validate().ok());
  CHECK(request.Get<std::string>("prompt")->front() == "Once upon");
  const auto mask = request.Get<bool>("mask");
  REQUIRE(mask.ok());
  CHECK(std::vector<bool>(mask->begin(), mask->end()) == std::vector<bool>{true, false, true});
  CHECK((*request.Get<std::string>("views"))[1] == "b");
  const std::vector<std::string> lent{"x"};
  CHECK(InferInput("s", std::span<const std::string>(lent), {1}).strings().data() == lent.data());
}

TEST_CASE("a scalar has one element and an empty tensor none", "[tensor]") {
  CHECK(InferInput("s", std::vector<float>{1}, {}).Validate().ok());
  CHECK(InferInput("e", std::vector<float>{}, {0, 4}).Validate().ok());
  CHECK(InferInput("e", std::span<const float>(), {3, 0, 1LL << 62, 1LL << 62}).Validate().ok());
  CHECK(InferInput("e", std::vector<std::string>{}, {0}).Validate().ok());
  CHECK(Message(InferInput("e", std::vector<float>{}, {}).Validate()) ==
        "input 'e': shape [] holds 1 elements, but 0 were given");
}

TEST_CASE("a request that is not well formed names the input, what was given and what was expected", "[tensor]") {
  const std::vector<float> ten(10);
  const std::span<const float> data(ten);
  CHECK(Message(InferRequest{{"image", data, {1, 64}}}.Validate()) ==
        "input 'image': shape [1,64] holds 64 elements, but 10 were given");
  CHECK(Message(InferRequest{{"image", data, {-1, 10}}}.Validate()) ==
        "input 'image': shape [-1,10] has the negative dimension -1");
  CHECK(Message(InferRequest{{"image", data, {1LL << 32, 1LL << 32}}}.Validate()) ==
        "input 'image': shape [4294967296,4294967296] has more than 2^63 - 1 elements");
  CHECK(Message(InferRequest{{"", data, {10}}}.Validate()) == "an input has an empty name");
  CHECK(Message(InferRequest{{"a", data, {10}}, {"a", data, {10}}}.Validate()) == "input 'a' was given twice");
  CHECK(Message(InferRequest{{"b", data, {10}}, {"a", data, {10}}, {"b", data, {10}}}.Validate()) ==
        "input 'b' was given twice");
}

TEST_CASE("reading an input by a wrong name or type says what there is", "[tensor]") {
  const InferRequest request = {{"a", std::vector<float>{1}, {1}}, {"b", std::vector<std::string>{"x"}, {1}}};
  CHECK(Message(request.Get<float>("c").status()) == "no input 'c'; there is 'a', 'b'");
  CHECK(request.Get<float>("c").status().code() == absl::StatusCode::kNotFound);
  CHECK(Message(request.Get<double>("a").status()) == "input 'a' is FP32; expected FP64");
  CHECK(Message(request.Get<float>("b").status()) == "input 'b' is BYTES; expected FP32");
  const InferRequest none;
  CHECK(Message(none.Get<float>("c").status()) == "no input 'c'; there is none");
}

TEST_CASE("a request carries what contracts want beside the tensors", "[tensor]") {
  InferRequest request;
  request.set_model("m");
  request.set_version("2");
  request.set_id("id");
  request.set_outputs({"y"});
  request.set_parameter("priority", 5);
  request.set_parameter("priority", 7);
  request.set_parameter("name", "text");
  request.add_input({"x", std::vector<float>{1}, {1}});
  CHECK(request.model() + request.version() + request.id() == "m2id");
  CHECK(request.outputs().size() == 1);
  CHECK(request.outputs()[0].name == "y");
  CHECK(std::get<std::int64_t>(request.parameters().at("priority")) == 7);
  CHECK(std::get<std::string>(request.parameters().at("name")) == "text");
  CHECK(request.inputs().size() == 1);
}

TEST_CASE("a request says how it is to be queued, and what outputs are wanted", "[tensor]") {
  InferRequest request = {{"x", std::vector<float>{1}, {1}}};
  CHECK(request.priority() == 0);
  CHECK(request.queue_timeout() == absl::ZeroDuration());
  CHECK_FALSE(request.sequence().has_id());
  request.set_priority(3);
  request.set_queue_timeout(absl::Milliseconds(5));
  request.set_sequence({.id = "s", .start = true});
  request.set_outputs({"a", "b"});
  request.add_output({.name = "c", .classification = 2});
  CHECK(request.Validate().ok());
  CHECK(request.outputs().size() == 3);
  request.set_outputs({"d"});
  CHECK(request.outputs().size() == 1);
  CHECK(InferRequest(request).sequence().has_id());
}

TEST_CASE("what no server can be asked is named", "[tensor][trap]") {
  const auto refusal = [](auto change) {
    InferRequest request = {{"x", std::vector<float>{1}, {1}}};
    change(request);
    const absl::Status status = request.Validate();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    return Message(status);
  };
  CHECK(refusal([](auto& r) { r.set_priority(-1); }) == "a priority of -1; expected 0 or more");
  CHECK(refusal([](auto& r) { r.set_queue_timeout(absl::Seconds(-1)); }) ==
        "a queue timeout of -1s; expected 0 or more, and an end");
  CHECK_FALSE(refusal([](auto& r) { r.set_queue_timeout(absl::InfiniteDuration()); }).empty());
  CHECK(refusal([](auto& r) { r.set_sequence({.id = "", .start = true}); }) ==
        "the start or end of a sequence needs its id, neither 0 nor empty");
  CHECK(refusal([](auto& r) { r.set_sequence({.end = true}); }).find("needs its id") != std::string::npos);
  CHECK(refusal([](auto& r) { r.set_outputs({""}); }) == "a requested output has an empty name");
  CHECK(refusal([](auto& r) { r.set_outputs({"y", "y"}); }) == "output 'y' was asked for twice");
  CHECK(refusal([](auto& r) { r.add_output({.name = "y", .classification = -1}); }) ==
        "output 'y': a classification of -1; expected 0 or more");
  CHECK(refusal([](auto& r) {
          r.add_output({.name = "y", .classification = 1, .placement = inferwire::SharedMemoryPlacement{"r", 8}});
        }) == "output 'y': a classification cannot be put into shared memory");
  CHECK(refusal([](auto& r) { r.add_output({.name = "y", .placement = inferwire::SharedMemoryPlacement{"", 8}}); }) ==
        "output 'y': a shared-memory region has no name");
}

TEST_CASE("text that is not UTF-8 is refused by the field's name", "[request]") {
  const std::string bad = "caf\xe9";
  const auto request = [](auto change) {
    InferRequest out{InferInput("x", std::vector<float>{1}, {1})};
    change(out);
    return out.Validate();
  };
  CHECK(request([](InferRequest&) {}).ok());
  const auto refused = [](const absl::Status& status, const std::string& what) {
    INFO(status);
    return status.code() == absl::StatusCode::kInvalidArgument &&
           std::string(status.message()).find(what) != std::string::npos &&
           std::string(status.message()).find("is not UTF-8") != std::string::npos;
  };
  CHECK(refused(request([&](InferRequest& r) { r.set_model(bad); }), "the model's name 'caf\\xe9'"));
  CHECK(refused(request([&](InferRequest& r) { r.set_version(bad); }), "the model's version"));
  CHECK(refused(request([&](InferRequest& r) { r.set_id(bad); }), "the request's id"));
  CHECK(refused(request([&](InferRequest& r) { r.set_sequence({.id = bad, .start = true}); }), "the sequence's id"));
  CHECK(refused(request([&](InferRequest& r) { r.set_parameter(bad, true); }), "the parameter 'caf"));
  CHECK(refused(request([&](InferRequest& r) { r.set_parameter("k", bad); }), "the value of the parameter 'k'"));
  CHECK(refused(request([&](InferRequest& r) { r.set_outputs({bad}); }), "the name of a requested output"));
  CHECK(refused(request([&](InferRequest& r) { r.add_output({.name = "y", .parameters = {{"k", bad}}}); }),
                "output 'y': the value of the parameter 'k'"));
  CHECK(refused(request([&](InferRequest& r) { r.add_output({.name = "y", .placement = {{bad, 4, 0}}}); }),
                "output 'y': the shared-memory region"));
  CHECK(refused(request([&](InferRequest& r) { r.add_input(InferInput(bad, std::vector<float>{1}, {1})); }),
                "the name of an input"));
  CHECK(refused(request([&](InferRequest& r) {
                  InferInput input("y", std::vector<float>{1}, {1});
                  r.add_input(input.set_parameter(bad, true));
                }),
                "input 'y': the parameter"));
  // Elements are bytes.
  CHECK(request([&](InferRequest& r) { r.add_input(InferInput("b", std::vector<std::string>{bad}, {1})); }).ok());
}
