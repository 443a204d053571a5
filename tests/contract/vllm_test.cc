// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/vllm.h"

#include <optional>
#include <string>
#include <vector>

#include "inferwire/testing/fake_server.h"
#include "support/catch.h"
#include "support/generation.h"

using inferwire::FinishReason;
using inferwire::GenerationChunk;
using inferwire::GenerationRequest;
using inferwire::Vllm;
using namespace inferwire_test;  // NOLINT

namespace {
const inferwire::detail::GenerationTable& Table() { return inferwire::detail::GenerationTableOf<Vllm>::Get(); }

absl::Status Refused(const GenerationRequest& request) { return Vllm::Encode(request, true).status(); }
}  // namespace

TEST_CASE("vllm: what a real server answered is understood", "[vllm]") {
  int generations = 0;
  for (const CapturedCall& call : Captured("vllm_native")) {
    const bool once = call.path == "/vllm.Inference/Generate";
    if ((!once && call.path != "/vllm.Inference/GenerateStream") || call.status != "OK") continue;
    INFO(call.name);
    const Assembled got = Assemble(once ? Table().decode_once : Table().decode, call.messages);
    INFO(got.status);
    REQUIRE(got.status.ok());
    REQUIRE(got.finish_reason().has_value());
    // Each message once more, by the generated code alone.
    std::string text;
    std::vector<std::int32_t> ids;
    std::int64_t tokens = 0;
    for (const std::string& bytes : call.messages) {
      inferwire::vllm::GenerateResponse message;
      REQUIRE(message.ParseFromString(bytes));
      text += message.outputs().text();
      ids.insert(ids.end(), message.outputs().token_ids().begin(), message.outputs().token_ids().end());
      tokens += message.outputs().num_tokens();
      if (message.has_prompt_info()) {
        CHECK(got.usage.prompt_tokens == message.prompt_info().num_prompt_tokens());
      }
    }
    CHECK(got.text() == text);
    CHECK(got.token_ids() == ids);
    CHECK(got.usage.completion_tokens == tokens);
    ++generations;
  }
  CHECK(generations >= 3);
}

TEST_CASE("vllm: the requests that a real server took are those that we write", "[vllm]") {
  GenerationRequest request{
      .prompt = "hello there", .max_tokens = 5, .temperature = 0.0f, .ignore_eos = true, .request_id = "u1"};
  const auto ours = Vllm::Encode(request, false);
  REQUIRE(ours.ok());
  for (const CapturedCall& call : Captured("vllm_native")) {
    if (call.name != "unary") continue;
    inferwire::vllm::GenerateRequest theirs;
    REQUIRE(theirs.ParseFromString(call.request));
    CHECK(ours->text() == theirs.text());
    CHECK(ours->request_id() == theirs.request_id());
    CHECK(ours->temperature() == theirs.temperature());
    CHECK(ours->has_temperature());
    CHECK(ours->stopping().max_new_tokens() == theirs.stopping().max_new_tokens());
    CHECK(ours->stopping().ignore_eos() == theirs.stopping().ignore_eos());
    CHECK(ours->response().output_text());
    CHECK(ours->response().output_token_ids());
    return;
  }
  FAIL("the capture has no unary call");
}

TEST_CASE("vllm: every field of a request is carried, or refused", "[vllm]") {
  GenerationRequest request;
  request.prompt = std::vector<std::int32_t>{1, 2, 3};
  request.model = "m";
  request.max_tokens = 7;
  request.temperature = 0.5f;
  request.top_p = 0.9f;
  request.top_k = 40;
  request.min_p = 0.1f;
  request.presence_penalty = 0.2f;
  request.frequency_penalty = -0.3f;
  request.repetition_penalty = 1.1f;
  request.seed = -5;
  request.n = 2;
  request.stop = {"a", "b"};
  request.stop_token_ids = {9, 8};
  request.ignore_eos = true;
  request.logprobs = 3;
  request.regex = "x+";
  request.adapter = "lora";
  request.priority = -2;
  request.request_id = "r";
  const auto out = Vllm::Encode(request, true);
  REQUIRE(out.ok());
  CHECK(std::vector<std::uint32_t>(out->token_ids().ids().begin(), out->token_ids().ids().end()) ==
        std::vector<std::uint32_t>{1, 2, 3});
  CHECK(out->model() == "m");
  CHECK(out->stopping().max_new_tokens() == 7);
  CHECK(out->temperature() == 0.5f);
  CHECK(out->sampling().top_p() == 0.9f);
  CHECK(out->sampling().top_k() == 40);
  CHECK(out->sampling().min_p() == 0.1f);
  CHECK(out->decoding().presence_penalty() == 0.2f);
  CHECK(out->decoding().frequency_penalty() == -0.3f);
  CHECK(out->decoding().repetition_penalty() == 1.1f);
  CHECK(out->sampling().seed() == -5);
  CHECK(out->sampling().num_sequences() == 2);
  CHECK(out->stopping().stop_strings_size() == 2);
  CHECK(out->stopping().stop_token_ids_size() == 2);
  CHECK(out->stopping().ignore_eos());
  CHECK(out->response().output_logprobs());
  CHECK(out->response().output_candidates().top_n() == 3);
  CHECK(out->decoding().regex() == "x+");
  CHECK(out->lora_name() == "lora");
  CHECK(out->priority() == -2);
  CHECK(out->request_id() == "r");
  CHECK(std::string(Refused({.prompt = "x", .top_p = 0.0f}).message()).find("top_p is 0") == 0);
  CHECK(Refused({.prompt = "x", .stop_token_ids = {-1}}).code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("vllm: what stopped a sequence, also the token 0", "[vllm]") {
  inferwire::vllm::GenerateResponse message;
  message.mutable_outputs()->set_text("x");
  auto& finish = *message.mutable_outputs()->mutable_finish_info();
  finish.set_finish_reason(inferwire::vllm::FinishInfo::STOP);
  finish.set_eos_token_id(0);
  Assembled got = Assemble(Table().decode, {message.SerializeAsString()});
  REQUIRE(got.deltas.size() == 1);
  CHECK(got.deltas[0].finish_reason == FinishReason::kStop);
  CHECK(got.deltas[0].finish_word == "STOP");
  CHECK(got.deltas[0].stopped_by == inferwire::StoppedBy(std::int32_t{0}));
  finish.set_stop_string("END");
  got = Assemble(Table().decode, {message.SerializeAsString()});
  CHECK(got.deltas.at(0).stopped_by == inferwire::StoppedBy("END"));
}

TEST_CASE("vllm: hostile messages are errors", "[vllm]") {
  inferwire::vllm::GenerateResponse message;
  message.mutable_outputs()->set_index(0xFFFFFFFF);
  CHECK(Assemble(Table().decode, {message.SerializeAsString()}).status.code() == absl::StatusCode::kInternal);
  message.mutable_outputs()->set_index(1);  // one was asked for
  CHECK(Assemble(Table().decode, {message.SerializeAsString()}).status.code() == absl::StatusCode::kInternal);
  message.mutable_outputs()->set_index(0);
  message.mutable_outputs()->add_logprobs(0.5f);
  CHECK(Assemble(Table().decode, {message.SerializeAsString()}).status.code() == absl::StatusCode::kInternal);
  CHECK(Assemble(Table().decode, {"\xFF\xFF"}).status.code() == absl::StatusCode::kInternal);
  CHECK(Assemble(Table().decode, {}).status.code() == absl::StatusCode::kInternal);  // OK, and no end
}
