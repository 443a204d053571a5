// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/simple.h"

#include <string>
#include <vector>

#include "support/catch.h"

using inferwire::InferRequest;
using inferwire::Simple;

namespace {
std::string Message(const absl::Status& status) { return std::string(status.message()); }
}  // namespace

TEST_CASE("the simple contract carries numbers, their shape and a text", "[contract]") {
  InferRequest request = {{"image", std::vector<float>{1, 2, 3, 4}, {2, 2}},
                          {"prompt", std::vector<std::string>{"hi"}, {1}}};
  request.set_model("m");
  request.set_id("7");
  const auto message = Simple::Encode(request);
  REQUIRE(message.ok());
  CHECK(message->model() == "m");
  CHECK(message->id() == "7");
  CHECK(std::vector<float>(message->input().begin(), message->input().end()) == std::vector<float>{1, 2, 3, 4});
  CHECK(std::vector<std::int64_t>(message->shape().begin(), message->shape().end()) == std::vector<std::int64_t>{2, 2});
  CHECK(message->text() == "hi");
}

TEST_CASE("what the simple contract cannot carry is refused by name", "[contract]") {
  CHECK(Message(Simple::Encode({{"x", std::vector<double>{1}, {1}}}).status()) ==
        "inference.Inference carries one FP32 input and one BYTES input of a single element; 'x' (FP64 [1]) does not "
        "fit in");
  CHECK_FALSE(Simple::Encode({{"a", std::vector<float>{1}, {1}}, {"b", std::vector<float>{1}, {1}}}).ok());
  CHECK_FALSE(Simple::Encode({{"t", std::vector<std::string>{"a", "b"}, {2}}}).ok());
  InferRequest request;
  request.set_version("3");
  CHECK(Message(Simple::Encode(request).status()) ==
        "inference.Inference cannot carry a model version, but '3' was given");
  request.set_version("");
  request.set_parameter("k", true);
  CHECK(Message(Simple::Encode(request).status()) == "inference.Inference cannot carry parameters, but 'k' was given");
}

TEST_CASE("nor does the simple contract carry what other protocols say beside tensors", "[contract][trap]") {
  const InferRequest bare = {{"x", std::vector<float>{1}, {1}}};
  const auto refusal = [&](auto change) {
    InferRequest request = bare;
    change(request);
    CHECK(request.Validate().ok());
    const absl::Status status = Simple::Encode(request).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    return Message(status);
  };
  CHECK(Simple::Encode(bare).ok());
  CHECK(refusal([](auto& r) { r.set_priority(2); }) == "inference.Inference cannot carry a priority, but 2 was given");
  CHECK(refusal([](auto& r) { r.set_queue_timeout(absl::Milliseconds(5)); }) ==
        "inference.Inference cannot carry a queue timeout, but 5ms was given");
  CHECK(refusal([](auto& r) { r.set_sequence({.id = 5}); }) ==
        "inference.Inference cannot carry a step of a sequence, but one was given");
  CHECK(refusal([](auto& r) {
          r.add_input(inferwire::InferInput("s", {"region", 4, 0}, inferwire::DataType::kFp32, {1}));
        }) == "inference.Inference cannot carry shared memory, but input 's' lies in 'region'");
  CHECK(refusal([](auto& r) {
          r.add_input(inferwire::InferInput("p", std::vector<float>{1}, {1}).set_parameter("k", 1));
        }) == "inference.Inference cannot carry parameters, but input 'p' has 'k'");
  CHECK(refusal([](auto& r) { r.add_output({.name = "y", .classification = 1}); }) ==
        "inference.Inference cannot carry a choice of outputs, but 'y' was given");
}

TEST_CASE("an answer without a shape is a vector, and a text is an output", "[contract]") {
  inference::Response response;
  response.add_output(0.5f);
  response.add_output(1.5f);
  response.set_text("two");
  const auto result = Simple::Decode(std::move(response));
  REQUIRE(result.ok());
  CHECK((*result->Find("output"))->shape() == inferwire::Shape{2});
  CHECK(result->Get<std::string_view>("text")->front() == "two");
  const auto empty = Simple::Decode({});
  REQUIRE(empty.ok());
  CHECK(empty->outputs().empty());
}

TEST_CASE("a shape that the numbers do not fill is an error", "[contract]") {
  inference::Response response;
  response.add_output(1);
  response.add_shape(GENERATE(-1, 2, 0));
  const auto result = Simple::Decode(std::move(response));
  REQUIRE(result.ok());
  CHECK_FALSE(result->status().ok());
}
