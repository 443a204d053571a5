// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/xai.h"

#include <absl/status/status.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/testing/fake_server.h"
#include "support/catch.h"
#include "support/generation.h"

using inferwire::FinishReason;
using inferwire::GenerationDelta;
using inferwire::GenerationRequest;
using inferwire::Xai;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT
namespace xai = inferwire::xai;

namespace {

using GrokChunk = xai::GetChatCompletionChunk;

const inferwire::detail::GenerationTable& GrokTable() { return inferwire::detail::GenerationTableOf<Xai>::Get(); }

GrokChunk GrokSays(const std::string& text, int index = 0) {
  GrokChunk chunk;
  auto& output = *chunk.add_outputs();
  output.set_index(index);
  output.mutable_delta()->set_content(text);
  return chunk;
}
GrokChunk GrokEnds(xai::FinishReason reason, int index = 0) {
  GrokChunk chunk = GrokSays("", index);
  chunk.mutable_outputs(0)->set_finish_reason(reason);
  return chunk;
}
Assembled OfGrok(const std::vector<GrokChunk>& chunks, int n = 1) {
  std::vector<std::string> messages;
  for (const GrokChunk& chunk : chunks) messages.push_back(chunk.SerializeAsString());
  inferwire::detail::Assembler::Terms terms;
  terms.n = n;
  return Assemble(GrokTable().decode, messages, std::move(terms));
}
absl::Status GrokRefuses(const GenerationRequest& request) { return Xai::Encode(request, true).status(); }

std::string GoldenChunk(const std::string& name) {
  std::ifstream file(std::string(INFERWIRE_CAPTURES) + "/../golden/xai/" + name + ".bin", std::ios::binary);
  REQUIRE(file.good());
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

TEST_CASE("xai: every field of a request is carried, or refused", "[xai]") {
  GenerationRequest request;
  request.messages = {{"system", "be brief"}, {"developer", "d"}, {"user", "hi"}, {"assistant", "hello"}};
  request.model = "grok";
  request.max_tokens = 7;
  request.temperature = 0.0f;
  request.top_p = 0.0f;
  request.presence_penalty = 0.0f;
  request.frequency_penalty = -0.5f;
  request.seed = -5;
  request.n = 2;
  request.stop = {"a", "b"};
  request.logprobs = 3;
  request.json_schema = "{}";
  const auto out = Xai::Encode(request, true);
  REQUIRE(out.ok());
  REQUIRE(out->messages_size() == 4);
  CHECK(out->messages(0).role() == xai::ROLE_SYSTEM);
  CHECK(out->messages(1).role() == xai::ROLE_DEVELOPER);
  CHECK(out->messages(2).role() == xai::ROLE_USER);
  CHECK(out->messages(3).role() == xai::ROLE_ASSISTANT);
  REQUIRE(out->messages(3).content_size() == 1);
  CHECK(out->messages(3).content(0).text() == "hello");
  CHECK(out->model() == "grok");
  CHECK(out->max_tokens() == 7);
  CHECK(out->has_temperature());
  CHECK(out->has_top_p());
  CHECK(out->has_presence_penalty());
  CHECK(out->frequency_penalty() == -0.5f);
  CHECK(out->seed() == -5);
  CHECK(out->n() == 2);
  CHECK(out->stop_size() == 2);
  CHECK(out->logprobs());
  CHECK(out->top_logprobs() == 3);
  CHECK(out->response_format().format_type() == xai::FORMAT_TYPE_JSON_SCHEMA);
  CHECK(out->response_format().schema() == "{}");

  const auto least = Xai::Encode({.prompt = "hi"}, false);
  REQUIRE(least.ok());
  REQUIRE(least->messages_size() == 1);
  CHECK(least->messages(0).role() == xai::ROLE_USER);
  CHECK(least->messages(0).content(0).text() == "hi");
  CHECK(!least->has_max_tokens());
  CHECK(!least->has_n());
  CHECK(!least->has_response_format());
  CHECK(!least->logprobs());

  CHECK(GrokRefuses({.prompt = "x", .seed = std::int64_t{1} << 31}).code() == absl::StatusCode::kInvalidArgument);
  const absl::Status role = GrokRefuses({.messages = {{"tool", "x"}}});
  CHECK(role.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(role.message()).find("messages has the role 'tool'") == 0);
  CHECK(GrokRefuses({.prompt = std::vector<std::int32_t>{1}}).code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("xai: chunks of several sequences, and what they have used", "[xai]") {
  GrokChunk first = GrokSays("");
  first.mutable_outputs(0)->mutable_delta()->set_reasoning_content("hm");  // is not told
  GrokChunk middle = GrokSays("He");
  middle.mutable_usage()->set_prompt_tokens(3);
  middle.mutable_usage()->set_cached_prompt_text_tokens(2);
  middle.mutable_usage()->set_completion_tokens(1);
  GrokChunk last = GrokEnds(xai::REASON_MAX_LEN, 1);
  last.mutable_usage()->set_completion_tokens(4);
  const Assembled got = OfGrok(
      {first, middle, GrokSays("Sa", 1), GrokSays("llo"), GrokEnds(xai::REASON_STOP), GrokSays("lut", 1), last}, 2);
  INFO(got.status);
  REQUIRE(got.status.ok());
  CHECK(got.text(0) == "Hello");
  CHECK(got.text(1) == "Salut");
  CHECK(got.finish_reason() == FinishReason::kLength);
  CHECK(got.deltas.back().finish_word == "REASON_MAX_LEN");
  CHECK(got.usage.prompt_tokens == 3);
  CHECK(got.usage.cached_tokens == 2);
  CHECK(got.usage.completion_tokens == 4);
  // What comes behind the last end counts too.
  GrokChunk usage;
  usage.mutable_usage()->set_completion_tokens(9);
  CHECK(OfGrok({GrokEnds(xai::REASON_STOP), usage}).usage.completion_tokens == 9);
}

TEST_CASE("xai: how a sequence ended", "[xai]") {
  const std::pair<xai::FinishReason, FinishReason> reasons[] = {
      {xai::REASON_MAX_LEN, FinishReason::kLength},    {xai::REASON_MAX_CONTEXT, FinishReason::kLength},
      {xai::REASON_TIME_LIMIT, FinishReason::kLength}, {xai::REASON_STOP, FinishReason::kStop},
      {xai::REASON_TOOL_CALLS, FinishReason::kStop},   {static_cast<xai::FinishReason>(77), FinishReason::kStop}};
  for (const auto& [theirs, ours] : reasons) {
    const Assembled got = OfGrok({GrokEnds(theirs)});
    CHECK(got.finish_reason() == ours);
    CHECK(got.deltas.back().finish_word == xai::FinishReason_Name(theirs));
  }
}

TEST_CASE("xai: logprobs are of texts", "[xai]") {
  GrokChunk chunk = GrokSays("Hi");
  auto& token = *chunk.mutable_outputs(0)->mutable_logprobs()->add_content();
  token.set_token("Hi");
  token.set_logprob(-0.25f);
  auto& other = *token.add_top_logprobs();
  other.set_token("Ho");
  other.set_logprob(-2.5f);
  const Assembled got = OfGrok({chunk, GrokEnds(xai::REASON_STOP)});
  REQUIRE(got.status.ok());
  REQUIRE(got.deltas[0].logprobs.size() == 1);
  CHECK(got.deltas[0].logprobs[0].text == "Hi");
  CHECK(got.deltas[0].logprobs[0].logprob == -0.25f);
  REQUIRE(got.deltas[0].logprobs[0].candidates.size() == 1);
  CHECK(got.deltas[0].logprobs[0].candidates[0].text == "Ho");
  CHECK(got.deltas[0].logprobs[0].candidates[0].logprob == -2.5f);
}

TEST_CASE("xai: a whole answer, and one in chunks, from a server", "[xai]") {
  FakeServer fake;
  xai::GetChatCompletionResponse whole;
  for (const int index : {1, 0}) {
    auto& output = *whole.add_outputs();
    output.set_index(index);
    output.set_finish_reason(xai::REASON_STOP);
    output.mutable_message()->set_content(index == 0 ? "Hi" : "Ho");
  }
  whole.mutable_usage()->set_prompt_tokens(5);
  whole.mutable_usage()->set_completion_tokens(2);
  fake.On<Xai::Generate>().Reply(whole);
  fake.On<Xai::GenerateStream>().Send(GrokSays("H")).Send(GrokSays("i")).Send(GrokEnds(xai::REASON_STOP)).Ok();
  const auto llm = ConnectTo<Xai>(fake.target());
  const auto got = llm.Generate({.prompt = "x", .n = 2});
  INFO(got.status());
  REQUIRE(got.ok());
  REQUIRE(got->choices.size() == 2);
  CHECK(got->text == "Hi");
  CHECK(got->choices[1].text == "Ho");
  CHECK(got->usage.prompt_tokens == 5);
  CHECK(got->usage.completion_tokens == 2);
  // One was asked for.
  CHECK(llm.Generate({.prompt = "x"}).status().code() == absl::StatusCode::kInternal);
  std::string text;
  auto stream = llm.StreamGenerate({.messages = {{"user", "x"}}});
  for (GenerationDelta& delta : stream) text += delta.text;
  CHECK(text == "Hi");
  CHECK(stream.status().ok());
  for (const GenerationRequest& request :
       {GenerationRequest{.prompt = "x", .top_k = 3}, GenerationRequest{.prompt = "x", .request_id = "r"},
        GenerationRequest{.prompt = std::vector<std::int32_t>{1}}, GenerationRequest{.prompt = "x", .adapter = "a"}}) {
    const absl::Status refused = llm.Generate(request).status();
    CHECK(refused.code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(refused.message()).find("the contract xai cannot carry") != std::string::npos);
  }
}

TEST_CASE("xai: hostile messages are errors", "[xai]") {
  for (const int index : {-1, 1, 1 << 30}) {
    const absl::Status status = OfGrok({GrokSays("x", index)}).status;
    INFO(status);
    CHECK(status.code() == absl::StatusCode::kInternal);
  }
  GrokChunk usage = GrokEnds(xai::REASON_STOP);
  usage.mutable_usage()->set_completion_tokens(-1);
  CHECK(OfGrok({usage}).status.code() == absl::StatusCode::kInternal);
  usage.mutable_usage()->set_completion_tokens(1);
  usage.mutable_usage()->set_cached_prompt_text_tokens(-1);
  CHECK(OfGrok({usage}).status.code() == absl::StatusCode::kInternal);
  GrokChunk many;
  for (int i = 0; i < 70000; ++i) many.add_outputs();
  CHECK(OfGrok({many}).status.code() == absl::StatusCode::kInternal);
  CHECK(Assemble(GrokTable().decode, {"\xFF\xFF"}).status.code() == absl::StatusCode::kInternal);
  CHECK(OfGrok({}).status.code() == absl::StatusCode::kInternal);               // OK, and no end
  CHECK(OfGrok({GrokSays("x")}).status.code() == absl::StatusCode::kInternal);  // the same
  CHECK(Assemble(GrokTable().decode_once, {""}).status.code() == absl::StatusCode::kInternal);
}

TEST_CASE("xai: the golden messages are understood", "[xai]") {
  inferwire::detail::Assembler::Terms terms;
  terms.n = 2;
  const Assembled got = Assemble(GrokTable().decode,
                                 {GoldenChunk("chunk_first"), GoldenChunk("chunk_middle"), GoldenChunk("chunk_last"),
                                  GrokEnds(xai::REASON_STOP, 1).SerializeAsString()},
                                 terms);
  INFO(got.status);
  REQUIRE(got.status.ok());
  CHECK(got.text(0).empty());
  CHECK(got.text(1) == " é");
  REQUIRE(got.deltas.size() == 3);
  CHECK(got.deltas[0].logprobs.at(0).candidates.at(0).text == "Ho");
  CHECK(got.deltas[1].finish_word == "REASON_TOOL_CALLS");
  CHECK(got.usage.completion_tokens == 2);
  CHECK(!got.usage.prompt_tokens.has_value());
  const Assembled whole = Assemble(GrokTable().decode_once, {GoldenChunk("completion_response")}, terms);
  INFO(whole.status);
  REQUIRE(whole.status.ok());
  CHECK(whole.text() == "Hi");
  CHECK(whole.usage.prompt_tokens == 3);
  CHECK(whole.usage.cached_tokens == 0);
}
