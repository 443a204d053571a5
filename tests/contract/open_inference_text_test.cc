// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/open_inference_text.h"

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "inferwire/testing/fake_server.h"
#include "support/catch.h"
#include "support/generation.h"

using inferwire::FinishReason;
using inferwire::GenerationDelta;
using inferwire::GenerationRequest;
using inferwire::OpenInferenceText;
using inferwire::OpenInferenceTextDynamo;
using inferwire::OpenInferenceTextTensorRtLlm;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT
namespace open_inference = inferwire::open_inference;

namespace {

using TextRequest = open_inference::ModelInferRequest;
using TextAnswer = open_inference::ModelStreamInferResponse;
using TextStream = OpenInferenceText::GenerateStream;

const inferwire::detail::GenerationTable& TextTable() {
  return inferwire::detail::GenerationTableOf<OpenInferenceText>::Get();
}

open_inference::ModelInferResponse::InferOutputTensor& AddOutput(TextAnswer& answer, const std::string& name,
                                                                 const std::vector<std::int64_t>& shape) {
  auto& output = *answer.mutable_infer_response()->add_outputs();
  output.set_name(name);
  output.set_datatype("BYTES");
  for (const std::int64_t size : shape) output.add_shape(size);
  return output;
}
std::string RawText(const std::string& text) {
  std::string out;
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(text.size() >> (8 * i)));
  return out + text;
}
TextAnswer TypedAnswer(const std::string& text, const std::vector<std::int64_t>& shape = {1}) {
  TextAnswer answer;
  AddOutput(answer, "text_output", shape).mutable_contents()->add_bytes_contents(text);
  return answer;
}
TextAnswer RawAnswer(const std::string& bytes, const std::vector<std::int64_t>& shape = {1}) {
  TextAnswer answer;
  AddOutput(answer, "text_output", shape);
  answer.mutable_infer_response()->add_raw_output_contents(bytes);
  return answer;
}
TextAnswer Marked(TextAnswer answer = {}) {
  (*answer.mutable_infer_response()->mutable_parameters())["triton_final_response"].set_bool_param(true);
  return answer;
}
TextAnswer DynamoAnswer(const std::string& text, const std::vector<std::string>& reasons) {
  TextAnswer answer = TypedAnswer(text);
  auto& reason = AddOutput(answer, "finish_reason", {static_cast<std::int64_t>(reasons.size())});
  for (const std::string& one : reasons) reason.mutable_contents()->add_bytes_contents(one);
  return answer;
}
Assembled OfAnswers(const std::vector<TextAnswer>& answers) {
  std::vector<std::string> messages;
  for (const TextAnswer& answer : answers) messages.push_back(answer.SerializeAsString());
  return Assemble(TextTable().decode, messages);
}
void Contradicted(const TextAnswer& answer) {
  INFO(answer.ShortDebugString());
  const absl::Status status = OfAnswers({answer, Marked()}).status;
  INFO(status);
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(std::string(status.message()).find("the server's answer contradicts itself: ") == 0);
}
const TextRequest::InferInputTensor* InputOf(const TextRequest& request, const std::string& name) {
  for (const auto& input : request.inputs()) {
    if (input.name() == name) return &input;
  }
  return nullptr;
}
// Of an input with one element.
open_inference::InferTensorContents OneOf(const TextRequest& request, const std::string& name,
                                          const std::string& datatype, const std::vector<std::int64_t>& shape) {
  INFO(name);
  const auto* const input = InputOf(request, name);
  REQUIRE(input != nullptr);
  CHECK(input->datatype() == datatype);
  CHECK(std::vector<std::int64_t>(input->shape().begin(), input->shape().end()) == shape);
  const auto& contents = input->contents();
  REQUIRE(contents.bytes_contents_size() + contents.bool_contents_size() + contents.int_contents_size() +
              contents.uint64_contents_size() + contents.fp32_contents_size() ==
          1);
  return contents;
}
template <class C>
std::string TextRefuses(const GenerationRequest& request) {
  const absl::Status status = C::Encode(request, true).status();
  INFO(status);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

std::string GoldenAnswer(const std::string& name) {
  std::ifstream file(std::string(INFERWIRE_CAPTURES) + "/../golden/triton_v2/" + name + ".bin", std::ios::binary);
  REQUIRE(file.good());
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

TEST_CASE("open_inference_text: the parameters of vLLM's backend are a JSON text", "[open_inference_text]") {
  GenerationRequest request;
  request.prompt = "Hé";
  request.model = "m";
  request.max_tokens = 7;
  request.temperature = 0.0f;
  request.top_p = 0.5f;
  request.top_k = 0;
  request.min_p = 0.25f;
  request.presence_penalty = 0.125f;
  request.frequency_penalty = -0.5f;
  request.repetition_penalty = 1.5f;
  request.seed = -(std::int64_t{1} << 53);
  request.stop = {"\"\n", "é"};
  request.stop_token_ids = {0, 8};
  request.ignore_eos = true;
  request.adapter = "lora";
  request.request_id = "r";
  const auto out = OpenInferenceText::Encode(request, true);
  REQUIRE(out.ok());
  CHECK(out->model_name() == "m");
  CHECK(out->id() == "r");
  CHECK(out->parameters().at("triton_enable_empty_final_response").bool_param());
  CHECK(out->raw_input_contents_size() == 0);
  CHECK(out->inputs_size() == 4);
  CHECK(OneOf(*out, "text_input", "BYTES", {1}).bytes_contents(0) == "Hé");
  CHECK(OneOf(*out, "stream", "BOOL", {1}).bool_contents(0));
  CHECK(OneOf(*out, "exclude_input_in_output", "BOOL", {1}).bool_contents(0));
  google::protobuf::Struct sampling;
  const std::string text = OneOf(*out, "sampling_parameters", "BYTES", {1}).bytes_contents(0);
  INFO(text);
  REQUIRE(google::protobuf::util::JsonStringToMessage(text, &sampling).ok());
  const auto& fields = sampling.fields();
  CHECK(fields.size() == 13);
  CHECK(fields.at("max_tokens").number_value() == 7);
  CHECK(fields.at("temperature").number_value() == 0);
  CHECK(fields.at("top_p").number_value() == 0.5);
  CHECK(fields.at("top_k").number_value() == -1);
  CHECK(fields.at("min_p").number_value() == 0.25);
  CHECK(fields.at("presence_penalty").number_value() == 0.125);
  CHECK(fields.at("frequency_penalty").number_value() == -0.5);
  CHECK(fields.at("repetition_penalty").number_value() == 1.5);
  CHECK(fields.at("stop").list_value().values(0).string_value() == "\"\n");
  CHECK(fields.at("stop").list_value().values(1).string_value() == "é");
  REQUIRE(fields.at("stop_token_ids").list_value().values_size() == 2);
  CHECK(fields.at("stop_token_ids").list_value().values(1).number_value() == 8);
  CHECK(fields.at("ignore_eos").bool_value());
  CHECK(fields.at("lora_name").string_value() == "lora");
  CHECK(text.find("-9007199254740992") != std::string::npos);
  CHECK(text.find("[0,8]") != std::string::npos);  // Python takes 8.0 for no token

  const auto least = OpenInferenceText::Encode({.prompt = "x", .model = "m"}, false);
  REQUIRE(least.ok());
  CHECK(OneOf(*least, "sampling_parameters", "BYTES", {1}).bytes_contents(0) == "{}");
  CHECK(!OneOf(*least, "stream", "BOOL", {1}).bool_contents(0));

  CHECK(TextRefuses<OpenInferenceText>({.prompt = "x"}) ==
        "model is empty; the contract open_inference_text needs the name of one");
  TextRefuses<OpenInferenceText>({.prompt = "x", .model = "m", .seed = (std::int64_t{1} << 53) + 1});
  TextRefuses<OpenInferenceText>({.prompt = "x", .model = "m", .stop = {"\xFF"}});
  TextRefuses<OpenInferenceText>({.prompt = "x", .model = "m", .adapter = "\xFF"});
  TextRefuses<OpenInferenceText>({.prompt = std::vector<std::int32_t>{1}, .model = "m"});
}

TEST_CASE("open_inference_text: the parameters of TensorRT-LLM's backend are tensors", "[open_inference_text]") {
  GenerationRequest request;
  request.prompt = "hi";
  request.model = "ensemble";
  request.max_tokens = 7;
  request.temperature = 0.0f;
  request.top_p = 0.5f;
  request.top_k = -1;
  request.presence_penalty = 0.125f;
  request.frequency_penalty = -0.5f;
  request.repetition_penalty = 1.5f;
  request.seed = 5;
  request.stop = {"a", "b"};
  const auto out = OpenInferenceTextTensorRtLlm::Encode(request, true);
  REQUIRE(out.ok());
  CHECK(out->inputs_size() == 11);
  CHECK(out->parameters().contains("triton_enable_empty_final_response"));
  CHECK(OneOf(*out, "text_input", "BYTES", {1, 1}).bytes_contents(0) == "hi");
  CHECK(OneOf(*out, "max_tokens", "INT32", {1, 1}).int_contents(0) == 7);
  CHECK(OneOf(*out, "stream", "BOOL", {1, 1}).bool_contents(0));
  CHECK(OneOf(*out, "temperature", "FP32", {1, 1}).fp32_contents(0) == 0.0f);
  CHECK(OneOf(*out, "top_p", "FP32", {1, 1}).fp32_contents(0) == 0.5f);
  CHECK(OneOf(*out, "top_k", "INT32", {1, 1}).int_contents(0) == 0);
  CHECK(OneOf(*out, "presence_penalty", "FP32", {1, 1}).fp32_contents(0) == 0.125f);
  CHECK(OneOf(*out, "frequency_penalty", "FP32", {1, 1}).fp32_contents(0) == -0.5f);
  CHECK(OneOf(*out, "repetition_penalty", "FP32", {1, 1}).fp32_contents(0) == 1.5f);
  CHECK(OneOf(*out, "seed", "UINT64", {1, 1}).uint64_contents(0) == 5);
  const auto* const words = InputOf(*out, "stop_words");
  REQUIRE(words != nullptr);
  CHECK(words->shape(1) == 2);
  REQUIRE(words->contents().bytes_contents_size() == 2);
  CHECK(words->contents().bytes_contents(1) == "b");

  CHECK(OpenInferenceTextTensorRtLlm::Encode({.prompt = "x", .model = "m", .max_tokens = 1}, true)->inputs_size() == 3);
  CHECK(TextRefuses<OpenInferenceTextTensorRtLlm>({.prompt = "x", .model = "m"}).find("max_tokens is unset") == 0);
  TextRefuses<OpenInferenceTextTensorRtLlm>({.prompt = "x", .max_tokens = 1});
  TextRefuses<OpenInferenceTextTensorRtLlm>({.prompt = "x", .model = "m", .max_tokens = 1, .seed = -1});
}

TEST_CASE("open_inference_text: Dynamo is asked for no more than it reads", "[open_inference_text]") {
  const auto out = OpenInferenceTextDynamo::Encode({.prompt = "hi", .model = "m", .request_id = "r"}, true);
  REQUIRE(out.ok());
  CHECK(out->inputs_size() == 2);
  CHECK(out->parameters().empty());
  CHECK(out->id() == "r");
  CHECK(OneOf(*out, "text_input", "BYTES", {1}).bytes_contents(0) == "hi");
  CHECK(OneOf(*out, "streaming", "BOOL", {1}).bool_contents(0));
  TextRefuses<OpenInferenceTextDynamo>({.prompt = "x"});
  CHECK((OpenInferenceTextDynamo::kCarries & OpenInferenceTextDynamo::Fields::kMaxTokens) == 0);
}

TEST_CASE("open_inference_text: raw and typed contents are understood, until Triton marks the end",
          "[open_inference_text]") {
  const Assembled got = OfAnswers({RawAnswer(RawText("He")), TypedAnswer("l"), RawAnswer(RawText("l"), {1, 1}),
                                   TypedAnswer("o \xC3", {1, 1}), RawAnswer(RawText("\xA9")), Marked()});
  INFO(got.status);
  REQUIRE(got.status.ok());
  CHECK(got.text() == "Hello é");
  CHECK(got.finish_reason() == FinishReason::kStop);
  CHECK(got.deltas.back().finish_word.empty());
  CHECK(!got.usage.completion_tokens.has_value());
  // The mark may come with the last text, and false is none.
  TextAnswer goes_on = TypedAnswer("a");
  (*goes_on.mutable_infer_response()->mutable_parameters())["triton_final_response"].set_bool_param(false);
  const Assembled marked = OfAnswers({goes_on, Marked(RawAnswer(RawText("b")))});
  CHECK(marked.text() == "ab");
  CHECK(marked.status.ok());
  // Other outputs are of no interest.
  TextAnswer more;
  AddOutput(more, "cum_log_probs", {1}).set_datatype("FP32");
  AddOutput(more, "text_output", {1});
  more.mutable_infer_response()->add_raw_output_contents("1234");
  more.mutable_infer_response()->add_raw_output_contents(RawText("x"));
  CHECK(OfAnswers({more, Marked()}).text() == "x");
  CHECK(OfAnswers({}).status.code() == absl::StatusCode::kInternal);                  // OK, and no end
  CHECK(OfAnswers({TypedAnswer("x")}).status.code() == absl::StatusCode::kInternal);  // the same
}

TEST_CASE("open_inference_text: Dynamo says why it ended", "[open_inference_text]") {
  const Assembled got = OfAnswers({DynamoAnswer("He", {}), DynamoAnswer("l", {""}), DynamoAnswer("lo", {"length"})});
  INFO(got.status);
  REQUIRE(got.status.ok());
  CHECK(got.text() == "Hello");
  CHECK(got.finish_reason() == FinishReason::kLength);
  CHECK(got.deltas.back().finish_word == "length");
  CHECK(OfAnswers({DynamoAnswer("", {"content_filter"})}).finish_reason() == FinishReason::kStop);
  CHECK(OfAnswers({DynamoAnswer("", {"None"}), Marked()}).deltas.back().finish_word.empty());
}

TEST_CASE("open_inference_text: hostile messages are errors", "[open_inference_text]") {
  Contradicted(RawAnswer(""));
  Contradicted(RawAnswer("\x01\x00"));
  Contradicted(RawAnswer(std::string("\xFF\xFF\xFF\xFF", 4) + "x"));
  Contradicted(RawAnswer(RawText("x") + "y"));
  Contradicted(RawAnswer(RawText("x") + RawText("y"), {2}));
  Contradicted(RawAnswer(RawText("x"), {0}));
  Contradicted(RawAnswer(RawText("x"), {-1}));
  Contradicted(RawAnswer(RawText("x"), {-1, -1}));
  Contradicted(RawAnswer(RawText("x"), {std::int64_t{1} << 62, 4}));
  Contradicted(TypedAnswer("x", {0}));
  Contradicted(TypedAnswer("x", {2}));
  TextAnswer several = TypedAnswer("x");
  several.mutable_infer_response()->mutable_outputs(0)->mutable_contents()->add_bytes_contents("y");
  Contradicted(several);
  TextAnswer both = RawAnswer(RawText("x"));
  both.mutable_infer_response()->mutable_outputs(0)->mutable_contents();
  Contradicted(both);
  TextAnswer type = TypedAnswer("x");
  type.mutable_infer_response()->mutable_outputs(0)->set_datatype("FP32");
  Contradicted(type);
  TextAnswer twice = TypedAnswer("x");
  AddOutput(twice, "text_output", {1}).mutable_contents()->add_bytes_contents("y");
  Contradicted(twice);
  TextAnswer surplus = RawAnswer(RawText("x"));
  surplus.mutable_infer_response()->add_raw_output_contents("");
  Contradicted(surplus);
  TextAnswer none = TypedAnswer("x");
  none.mutable_infer_response()->mutable_outputs(0)->clear_contents();
  Contradicted(none);
  CHECK(OfAnswers({RawAnswer("", {0}), Marked()}).status.ok());
  CHECK(Assemble(TextTable().decode, {"\xFF\xFF"}).status.code() == absl::StatusCode::kInternal);
}

TEST_CASE("open_inference_text: an error beside an answer is a status", "[open_inference_text]") {
  const auto status_of = [](const std::string& text) {
    TextAnswer answer;
    answer.set_error_message(text);
    answer.mutable_infer_response()->set_id("req-9");
    const absl::Status status = OpenInferenceText::Inspect(answer);
    CHECK(OfAnswers({answer}).status == status);
    CHECK(status.message() == text);
    return status.code();
  };
  CHECK(status_of("expected 1 inputs but got 2 inputs for model 'm'") == absl::StatusCode::kInvalidArgument);
  CHECK(status_of("Exceeds maximum queue size") == absl::StatusCode::kUnavailable);
  CHECK(status_of("something broke") == absl::StatusCode::kInternal);
  CHECK(OpenInferenceText::Inspect(TypedAnswer("x")).ok());
}

TEST_CASE("open_inference_text: a server is asked once on a stream of its own, and again where it was busy",
          "[open_inference_text]") {
  FakeServer fake;
  TextAnswer busy;
  busy.set_error_message("Exceeds maximum queue size");
  fake.On<TextStream>()
      .Send(busy)
      .Ok()
      .Times(1)
      .Then()
      .ReceiveAll()
      .Send(RawAnswer(RawText("o")))
      .Send(RawAnswer(RawText("k")))
      .Send(Marked())
      .Ok();
  const auto llm = ConnectTo<OpenInferenceText>(fake.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  auto stream = llm.StreamGenerate({.prompt = "hi", .model = "m", .max_tokens = 3});
  std::string text;
  std::optional<FinishReason> reason;
  for (GenerationDelta& delta : stream) {
    text += delta.text;
    reason = delta.finish_reason;
  }
  INFO(stream.status());
  CHECK(stream.status().ok());
  CHECK(text == "ok");
  CHECK(reason == FinishReason::kStop);
  CHECK(llm.Stats().retries == 1);
  const auto requests = fake.requests<TextStream>();
  REQUIRE(!requests.empty());
  CHECK(requests.back().model_name() == "m");
  const absl::Status refused = llm.Generate({.prompt = "x", .model = "m", .n = 2}).status();
  CHECK(std::string(refused.message()).find("the contract open_inference_text cannot carry n") == 0);
}

TEST_CASE("open_inference_text: the golden messages are understood", "[open_inference_text]") {
  const Assembled got =
      Assemble(TextTable().decode, {TypedAnswer("x").SerializeAsString(), GoldenAnswer("stream_response_final_empty")});
  INFO(got.status);
  CHECK(got.status.ok());
  CHECK(got.text() == "x");
  CHECK(got.finish_reason() == FinishReason::kStop);
  CHECK(Assemble(TextTable().decode, {GoldenAnswer("stream_response_error")}).status.code() ==
        absl::StatusCode::kInvalidArgument);
  // Outputs, and none that has a text: it goes on.
  CHECK(Assemble(TextTable().decode, {GoldenAnswer("stream_response_data"), Marked().SerializeAsString()}).status.ok());
}
