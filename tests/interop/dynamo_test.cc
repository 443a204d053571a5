// SPDX-License-Identifier: Apache-2.0
//
// NVIDIA Dynamo's KServe frontend: streams whose answers are not marked.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/inference.h"
#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

namespace {

InferRequest Prompt(std::string text, bool streaming = true) {
  InferRequest request{{"text_input", std::vector<std::string>{std::move(text)}, {1}}};
  request.add_input({"streaming", std::vector<bool>{streaming}, {1}});
  return request;
}

std::string TextOf(ResponseStream<InferResult>& stream) {
  std::string text;
  for (const InferResult& part : stream) text += Values<std::string>(part, "text_output").at(0);
  return text;
}

}  // namespace

TEST_CASE("Dynamo's streams end with their answers", "[.][interop][dynamo]") {
  const auto target = Told("INFERWIRE_DYNAMO");
  if (!target) return;
  const auto model = ConnectTo(*target).GetModel("tiny", {.check = false});
  for (int i = 0; i < 3; ++i) {
    auto stream = model.StreamInfer(Prompt("hello world"));
    CHECK(TextOf(stream) == "hello world");
    CheckOk(stream.status());
    CHECK(stream.stats().messages > 1);
  }
}

TEST_CASE("Dynamo's first streams, all at once, have their own answers", "[.][interop][dynamo]") {
  const auto target = Told("INFERWIRE_DYNAMO");
  if (!target) return;
  const auto model = ConnectTo(*target).GetModel("tiny", {.check = false});
  std::vector<ResponseStream<InferResult>> streams;
  for (int i = 0; i < 8; ++i) streams.push_back(model.StreamInfer(Prompt("number " + std::to_string(i))));
  for (int i = 0; i < 8; ++i) {
    auto& stream = streams[static_cast<std::size_t>(i)];
    CHECK(TextOf(stream) == "number " + std::to_string(i));
    CheckOk(stream.status());
  }
}

TEST_CASE("Dynamo over a stream answers once, or is to be streamed", "[.][interop][dynamo]") {
  const auto target = Told("INFERWIRE_DYNAMO");
  if (!target) return;
  const auto model = ConnectTo(*target).GetModel("tiny", {.check = false, .over_stream = true});
  CHECK(Values<std::string>(model.Infer(Prompt("all of it", false)), "text_output").at(0) == "all of it");
  const absl::Status several = model.Infer(Prompt("bit by bit")).status();
  CHECK(several.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(several, "StreamInfer"));
  CHECK_FALSE(ConnectTo(*target).GetModel("nobody", {.check = false}).StreamInfer(Prompt("?")).Read().has_value());
}
