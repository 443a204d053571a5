// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/open_engine.h"

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/testing/fake_server.h"
#include "support/catch.h"
#include "support/generation.h"

using inferwire::FinishReason;
using inferwire::GenerationDelta;
using inferwire::GenerationRequest;
using inferwire::OpenEngine;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT
namespace open_engine = inferwire::open_engine;

namespace {

using EngineEvent = open_engine::GenerateResponse;

const inferwire::detail::GenerationTable& EngineTable() {
  return inferwire::detail::GenerationTableOf<OpenEngine>::Get();
}

EngineEvent EngineToken(const std::string& text, std::uint32_t id, std::uint32_t index = 0) {
  EngineEvent event;
  event.mutable_token()->set_output_index(index);
  event.mutable_token()->set_text(text);
  event.mutable_token()->add_tokens()->set_token_id(id);
  return event;
}
EngineEvent EngineFinished(open_engine::FinishReason reason = open_engine::FINISH_REASON_STOP,
                           std::uint32_t index = 0) {
  EngineEvent event;
  event.mutable_finished()->set_output_index(index);
  event.mutable_finished()->set_reason(reason);
  return event;
}
EngineEvent EngineFails(open_engine::ErrorCode code, const std::string& text, bool retryable = false) {
  EngineEvent event;
  event.mutable_error()->set_code(code);
  event.mutable_error()->set_message(text);
  event.mutable_error()->set_retryable(retryable);
  return event;
}
Assembled OfEngine(const std::vector<EngineEvent>& events, int n = 1) {
  std::vector<std::string> messages;
  for (const EngineEvent& event : events) messages.push_back(event.SerializeAsString());
  inferwire::detail::Assembler::Terms terms;
  terms.n = n;
  return Assemble(EngineTable().decode, messages, std::move(terms));
}
absl::Status EngineRefuses(const GenerationRequest& request) { return OpenEngine::Encode(request, true).status(); }

std::string GoldenEvent(const std::string& name) {
  std::ifstream file(std::string(INFERWIRE_CAPTURES) + "/../golden/openengine_v1/" + name + ".bin", std::ios::binary);
  REQUIRE(file.good());
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

TEST_CASE("open_engine: every field of a request is carried, or refused", "[open_engine]") {
  GenerationRequest request;
  request.prompt = std::vector<std::int32_t>{1, 0, 3};
  request.model = "m";
  request.max_tokens = 7;
  request.temperature = 0.0f;
  request.top_p = 0.0f;
  request.top_k = -1;
  request.min_p = 0.5f;
  request.presence_penalty = 0.25f;
  request.frequency_penalty = -0.5f;
  request.repetition_penalty = 0.0f;
  request.seed = 0;
  request.n = 2;
  request.stop = {"a", "b"};
  request.stop_token_ids = {0, 8};
  request.ignore_eos = true;
  request.logprobs = 3;
  request.adapter = "lora";
  request.request_id = "r";
  request.choice = {"yes", "no"};
  const auto out = OpenEngine::Encode(request, true);
  REQUIRE(out.ok());
  CHECK(std::vector<std::uint32_t>(out->token_ids().ids().begin(), out->token_ids().ids().end()) ==
        std::vector<std::uint32_t>{1, 0, 3});
  CHECK(out->model() == "m");
  CHECK(out->stopping().max_tokens() == 7);
  CHECK(out->sampling().has_temperature());
  CHECK(out->sampling().has_top_p());
  CHECK(out->sampling().top_k() == -1);
  CHECK(out->sampling().min_p() == 0.5);
  CHECK(out->sampling().presence_penalty() == 0.25);
  CHECK(out->sampling().frequency_penalty() == -0.5);
  CHECK(out->sampling().has_repetition_penalty());
  CHECK(out->sampling().has_seed());
  CHECK(out->sampling().num_sequences() == 2);
  REQUIRE(out->stopping().conditions_size() == 4);
  CHECK(out->stopping().conditions(1).stop_text() == "b");
  CHECK(out->stopping().conditions(2).has_stop_token_id());
  CHECK(out->stopping().conditions(3).stop_token_id() == 8);
  CHECK(out->stopping().ignore_eos());
  CHECK(out->response().return_output_logprobs());
  CHECK(out->response().output_candidates().top_n() == 3);
  CHECK(out->lora_name() == "lora");
  CHECK(out->request_id() == "r");
  CHECK(out->guided().choice().choices_size() == 2);

  CHECK(OpenEngine::Encode({.prompt = "x", .json_schema = "{}"}, true)->guided().json_schema() == "{}");
  CHECK(OpenEngine::Encode({.prompt = "x", .regex = "x+"}, true)->guided().regex() == "x+");
  CHECK(OpenEngine::Encode({.prompt = "x", .grammar = "g"}, true)->guided().ebnf_grammar() == "g");
  const auto least = OpenEngine::Encode({.prompt = "x"}, true);
  REQUIRE(least.ok());
  CHECK(least->prompt() == "x");
  CHECK(!least->sampling().has_temperature());
  CHECK(!least->sampling().has_num_sequences());
  CHECK(!least->stopping().has_max_tokens());
  CHECK(!least->has_guided());
  CHECK(!least->has_response());

  CHECK(EngineRefuses({.prompt = "x", .seed = -1}).code() == absl::StatusCode::kInvalidArgument);
  CHECK(EngineRefuses({.prompt = "x", .stop_token_ids = {-1}}).code() == absl::StatusCode::kInvalidArgument);
  CHECK((OpenEngine::kCarries & (OpenEngine::Fields::kMessages | OpenEngine::Fields::kPriority)) == 0);
}

TEST_CASE("open_engine: deltas of several sequences, and what they have used", "[open_engine]") {
  EngineEvent prompt;
  prompt.mutable_prompt()->add_tokens()->set_token_id(101);
  EngineEvent ready;
  ready.mutable_prefill_ready()->mutable_kv_session()->set_session_id("s");
  EngineEvent last = EngineFinished(open_engine::FINISH_REASON_LENGTH, 1);
  last.mutable_usage()->set_prompt_tokens(3);
  last.mutable_usage()->set_cached_prompt_tokens(0);
  last.mutable_usage()->set_completion_tokens(4);
  const Assembled got = OfEngine({prompt, ready, EngineToken("He", 7), EngineToken("Sa", 8, 1), EngineToken("llo", 0),
                                  EngineFinished(), EngineToken("lut", 9, 1), last},
                                 2);
  INFO(got.status);
  REQUIRE(got.status.ok());
  CHECK(got.text(0) == "Hello");
  CHECK(got.text(1) == "Salut");
  CHECK(got.token_ids(0) == std::vector<std::int32_t>{7, 0});
  CHECK(got.token_ids(1) == std::vector<std::int32_t>{8, 9});
  CHECK(got.finish_reason() == FinishReason::kLength);
  CHECK(got.deltas.back().finish_word == "FINISH_REASON_LENGTH");
  CHECK(got.usage.prompt_tokens == 3);
  CHECK(got.usage.cached_tokens == 0);
  CHECK(got.usage.completion_tokens == 4);
}

TEST_CASE("open_engine: logprobs and what stopped a sequence, also the token 0", "[open_engine]") {
  EngineEvent token = EngineToken(" x", 7);
  auto& info = *token.mutable_token()->mutable_tokens(0);
  info.set_token(" x");
  info.set_logprob(0);
  auto& candidate = *info.add_candidates();
  candidate.set_token_id(5);
  candidate.set_token("b");
  candidate.set_logprob(-0.5);
  EngineEvent last = EngineFinished();
  last.mutable_finished()->mutable_stop_match()->set_eos_token_id(0);
  Assembled got = OfEngine({token, last});
  REQUIRE(got.status.ok());
  REQUIRE(got.deltas.size() == 2);
  REQUIRE(got.deltas[0].logprobs.size() == 1);
  const auto& one = got.deltas[0].logprobs[0];
  CHECK(one.token_id == 7);
  CHECK(one.text == " x");
  CHECK(one.logprob == 0.0f);
  REQUIRE(one.candidates.size() == 1);
  CHECK(one.candidates[0].token_id == 5);
  CHECK(one.candidates[0].logprob == -0.5f);
  CHECK(got.deltas[1].finish_reason == FinishReason::kStop);
  CHECK(got.deltas[1].stopped_by == inferwire::StoppedBy(std::int32_t{0}));
  last.mutable_finished()->mutable_stop_match()->set_stop_text("END");
  CHECK(OfEngine({last}).deltas.at(0).stopped_by == inferwire::StoppedBy("END"));
  last.mutable_finished()->mutable_stop_match()->set_stop_token_id(0);
  CHECK(OfEngine({last}).deltas.at(0).stopped_by == inferwire::StoppedBy(std::int32_t{0}));
  CHECK(OfEngine({EngineFinished(open_engine::FINISH_REASON_CANCELLED)}).finish_reason() == FinishReason::kAborted);
}

TEST_CASE("open_engine: hostile messages are errors", "[open_engine]") {
  constexpr std::uint32_t kMost = (std::numeric_limits<std::uint32_t>::max)();
  EngineEvent nowhere = EngineToken("x", 1), ended_nowhere = EngineFinished();
  nowhere.mutable_token()->clear_output_index();
  ended_nowhere.mutable_finished()->clear_output_index();
  EngineEvent candidate = EngineToken("x", 1), stop = EngineFinished();
  candidate.mutable_token()->mutable_tokens(0)->set_logprob(-1);
  candidate.mutable_token()->mutable_tokens(0)->add_candidates()->set_token_id(kMost);
  stop.mutable_finished()->mutable_stop_match()->set_stop_token_id(kMost);
  for (const EngineEvent& event : {nowhere, ended_nowhere, candidate, stop, EngineToken("x", 1, kMost),
                                   EngineToken("x", 1, 1),  // one was asked for
                                   EngineToken("x", kMost), EngineFinished(open_engine::FINISH_REASON_STOP, kMost)}) {
    INFO(event.ShortDebugString());
    const absl::Status status = OfEngine({event}).status;
    CHECK(status.code() == absl::StatusCode::kInternal);
    CHECK(std::string(status.message()).find("the server's answer contradicts itself: ") == 0);
  }
  CHECK(Assemble(EngineTable().decode, {"\xFF\xFF"}).status.code() == absl::StatusCode::kInternal);
  CHECK(OfEngine({}).status.code() == absl::StatusCode::kInternal);                     // OK, and no end
  CHECK(OfEngine({EngineToken("x", 1)}).status.code() == absl::StatusCode::kInternal);  // the same
  // A reason and an event of another release.
  EngineEvent reason = EngineFinished(static_cast<open_engine::FinishReason>(77));
  CHECK(OfEngine({reason}).finish_reason() == FinishReason::kStop);
  CHECK(OfEngine({EngineEvent(), EngineFinished()}).status.ok());
}

TEST_CASE("open_engine: an error event is a status", "[open_engine]") {
  const auto code_of = [](int code, bool retryable = false) {
    const EngineEvent event = EngineFails(static_cast<open_engine::ErrorCode>(code), "why", retryable);
    const absl::Status status = OpenEngine::Inspect(event);
    CHECK(status.message() == "why");
    CHECK(OfEngine({event}).status == status);
    return status.code();
  };
  CHECK(code_of(open_engine::ERROR_CODE_UNSPECIFIED) == absl::StatusCode::kInternal);
  CHECK(code_of(open_engine::ERROR_CODE_INVALID_ARGUMENT) == absl::StatusCode::kInvalidArgument);
  CHECK(code_of(open_engine::ERROR_CODE_UNSUPPORTED_FEATURE) == absl::StatusCode::kUnimplemented);
  CHECK(code_of(open_engine::ERROR_CODE_ROLE_MISMATCH) == absl::StatusCode::kFailedPrecondition);
  CHECK(code_of(open_engine::ERROR_CODE_MODEL_NOT_FOUND) == absl::StatusCode::kNotFound);
  CHECK(code_of(open_engine::ERROR_CODE_OVERLOADED) == absl::StatusCode::kResourceExhausted);
  CHECK(code_of(open_engine::ERROR_CODE_REQUEST_NOT_FOUND) == absl::StatusCode::kNotFound);
  CHECK(code_of(open_engine::ERROR_CODE_DUPLICATE_REQUEST) == absl::StatusCode::kAlreadyExists);
  CHECK(code_of(open_engine::ERROR_CODE_KV_SESSION_NOT_FOUND) == absl::StatusCode::kNotFound);
  CHECK(code_of(open_engine::ERROR_CODE_KV_TRANSFER_FAILED) == absl::StatusCode::kInternal);
  CHECK(code_of(open_engine::ERROR_CODE_CANCELLED) == absl::StatusCode::kCancelled);
  CHECK(code_of(open_engine::ERROR_CODE_DRAINING) == absl::StatusCode::kInternal);
  CHECK(code_of(open_engine::ERROR_CODE_INTERNAL) == absl::StatusCode::kInternal);
  CHECK(code_of(-5) == absl::StatusCode::kInternal);
  for (int code = 0; code < 15; ++code) CHECK(code_of(code, true) == absl::StatusCode::kUnavailable);

  const absl::Status silent = OpenEngine::Inspect(EngineFails(open_engine::ERROR_CODE_OVERLOADED, ""));
  CHECK(silent.message() == "the engine says ERROR_CODE_OVERLOADED");
  CHECK(OpenEngine::Inspect(EngineFails(static_cast<open_engine::ErrorCode>(77), "")).message() ==
        "the engine says 77");
  CHECK(OpenEngine::Inspect(EngineToken("x", 1)).ok());
}

TEST_CASE("open_engine: an engine that fails at first is asked again, though its calls end OK", "[open_engine]") {
  using Stream = OpenEngine::GenerateStream;
  FakeServer busy, well;
  busy.On<Stream>().Send(EngineFails(open_engine::ERROR_CODE_DRAINING, "bye", true)).Ok();
  well.On<Stream>().Send(EngineToken("o", 1)).Send(EngineToken("k", 2)).Send(EngineFinished()).Ok();
  auto client = inferwire::GenerationClient<OpenEngine>::Create({.targets = {busy.target(), well.target()},
                                                                 .credentials = inferwire::Insecure(),
                                                                 .retry = {.initial_backoff = absl::Milliseconds(1)},
                                                                 .target_order = inferwire::TargetOrder::kPriority});
  REQUIRE(client.ok());
  auto stream = client->StreamGenerate({.prompt = "hi"});
  std::string text;
  for (GenerationDelta& delta : stream) text += delta.text;
  INFO(stream.status());
  CHECK(text == "ok");
  CHECK(stream.status().ok());
  CHECK(stream.usage().completion_tokens == 2);
  CHECK(busy.calls<Stream>() + well.calls<Stream>() == 2);
  CHECK(well.calls<Stream>() == 1);
  CHECK(client->Stats().retries == 1);
}

TEST_CASE("open_engine: the same target is asked again, and what is final is not", "[open_engine]") {
  using Stream = OpenEngine::GenerateStream;
  FakeServer fake;
  fake.On<Stream>()
      .Send(EngineFails(open_engine::ERROR_CODE_OVERLOADED, "busy", true))
      .Ok()
      .Times(1)
      .Then()
      .Send(EngineToken("ok", 1))
      .Send(EngineFinished())
      .Ok()
      .Times(1)
      .Then()
      .Send(EngineFails(open_engine::ERROR_CODE_INVALID_ARGUMENT, "too long a prompt"))
      .Ok();
  const auto llm = ConnectTo<OpenEngine>(fake.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  const auto good = llm.Generate({.prompt = "hi"});
  INFO(good.status());
  REQUIRE(good.ok());
  CHECK(good->text == "ok");
  CHECK(llm.Stats().retries == 1);
  const absl::Status bad = llm.Generate({.prompt = "hi"}).status();
  CHECK(bad.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(bad.message()).find("too long a prompt") != std::string::npos);
  CHECK(fake.calls<Stream>() == 3);
}

TEST_CASE("open_engine: an error behind the first delta is the stream's end", "[open_engine]") {
  using Stream = OpenEngine::GenerateStream;
  FakeServer fake;
  fake.On<Stream>()
      .Send(EngineToken("a", 1))
      .Send(EngineFails(open_engine::ERROR_CODE_KV_TRANSFER_FAILED, "lost", true))
      .Ok();
  const auto llm = ConnectTo<OpenEngine>(fake.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  auto stream = llm.StreamGenerate({.prompt = "hi"});
  std::string text;
  for (GenerationDelta& delta : stream) text += delta.text;
  CHECK(text == "a");
  CHECK(stream.status().code() == absl::StatusCode::kUnavailable);
  CHECK(std::string(stream.status().message()).find("lost") != std::string::npos);
  CHECK(fake.calls<Stream>() == 1);
}

TEST_CASE("open_engine: what broke by an error event is gone on with elsewhere", "[open_engine]") {
  using Stream = OpenEngine::GenerateStream;
  FakeServer fake;
  fake.On<Stream>()
      .Send(EngineToken("a", 1))
      .Send(EngineFails(open_engine::ERROR_CODE_DRAINING, "bye", true))
      .Ok()
      .Times(1)
      .Then()
      .Send(EngineToken("b", 2))
      .Send(EngineFinished())
      .Ok();
  const auto llm = ConnectTo<OpenEngine>(fake.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  auto stream = llm.StreamGenerate({.prompt = "hi", .max_tokens = 9}, {.resume = true});
  std::string text;
  for (GenerationDelta& delta : stream) text += delta.text;
  INFO(stream.status());
  CHECK(stream.status().ok());
  CHECK(text == "ab");
  const auto requests = fake.requests<Stream>();
  REQUIRE(requests.size() == 2);
  CHECK(requests[1].prompt() == "hia");
  CHECK(requests[1].stopping().max_tokens() == 8);
}

TEST_CASE("open_engine: the golden messages are understood", "[open_engine]") {
  inferwire::detail::Assembler::Terms terms;
  terms.n = 2;
  const Assembled got =
      Assemble(EngineTable().decode,
               {GoldenEvent("generate_prompt"), GoldenEvent("generate_token"), GoldenEvent("generate_prefill_ready"),
                GoldenEvent("generate_finished_text"), GoldenEvent("generate_finished_stop")},
               terms);
  INFO(got.status);
  REQUIRE(got.status.ok());
  CHECK(got.text() == " é");
  CHECK(got.token_ids() == std::vector<std::int32_t>{7});
  REQUIRE(got.deltas.size() == 3);
  CHECK(got.deltas[0].logprobs.at(0).logprob == -0.25f);
  CHECK(got.deltas[1].stopped_by == inferwire::StoppedBy("\n"));
  CHECK(got.deltas[2].index == 1);
  CHECK(got.deltas[2].stopped_by == inferwire::StoppedBy(std::int32_t{0}));
  CHECK(got.usage.prompt_tokens == 3);
  CHECK(got.usage.completion_tokens == 2);
  CHECK(got.usage.cached_tokens == 0);
  const absl::Status busy = Assemble(EngineTable().decode, {GoldenEvent("generate_error")}).status;
  CHECK(busy.code() == absl::StatusCode::kUnavailable);
  CHECK(busy.message() == "busy");
  // It does not say which sequence has ended.
  CHECK(Assemble(EngineTable().decode, {GoldenEvent("generate_finished_eos")}).status.code() ==
        absl::StatusCode::kInternal);
}
