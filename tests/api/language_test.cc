// SPDX-License-Identifier: Apache-2.0
//
// The public API for language models and embeddings, as its users write it.
#include <inferwire/contract/tei.h>
#include <inferwire/contract/vllm.h>
#include <inferwire/generation.h>
#include <inferwire/testing/fake_server.h>

#include <iostream>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "support/catch.h"

namespace {

using ApiStream = inferwire::Vllm::GenerateStream;

inferwire::vllm::GenerateResponse ApiAnswer(const std::string& text, bool last) {
  inferwire::vllm::GenerateResponse answer;
  answer.mutable_outputs()->set_text(text);
  answer.mutable_outputs()->set_num_tokens(1);
  if (last) {
    answer.mutable_outputs()->mutable_finish_info()->set_finish_reason(inferwire::vllm::FinishInfo::LENGTH);
  }
  return answer;
}

}  // namespace

TEST_CASE("api: language models, whatever the contract", "[api]") {
  inferwire::testing::FakeServer fake;
  fake.On<ApiStream>().Send(ApiAnswer(" there", false)).Send(ApiAnswer(" was", true)).Ok();
  fake.On<inferwire::Vllm::Generate>().Reply(ApiAnswer(" there was", true));
  std::ostringstream out;

  auto llm = inferwire::GenerationClient<inferwire::Vllm>::Create(
      {.targets = {fake.target()}, .credentials = inferwire::Insecure()});

  inferwire::GenerationRequest ask{
      .prompt = "Once upon a time", .max_tokens = 64, .temperature = 0.7f, .stop = {"\n\n"}};

  absl::StatusOr<inferwire::Generation> whole = llm->Generate(ask);  // blocks until all is there
  out << whole->text << " (" << whole->usage.completion_tokens << " tokens, " << whole->finish_reason << ")\n";
  inferwire::Future<inferwire::Generation> later = llm->AsyncGenerate(ask);

  for (inferwire::GenerationDelta& delta : llm->StreamGenerate(ask)) {  // text as it comes; break, and the engine stops
    out << delta.text << std::flush;
  }

  // a conversation that outlives the replica it began on: what is still missing is asked of another one
  auto tokens = llm->StreamGenerate(ask, {.resume = true});

  CHECK(out.str() == " there was (1 tokens, length)\n there was");
  CHECK(std::move(later).Get()->text == " there was");
  std::string text;
  for (inferwire::GenerationDelta& delta : tokens) text += delta.text;
  CHECK(text == " there was");
  CHECK(tokens.status().ok());
}

TEST_CASE("api: embeddings and ranks", "[api]") {
  inferwire::testing::FakeServer fake;
  inferwire::tei::EmbedResponse vector;
  vector.add_embeddings(0.5f);
  fake.On<inferwire::TextEmbeddings::EmbedForm::Method>().Reply(vector);
  inferwire::tei::RerankResponse ranks;
  for (const unsigned index : {1u, 0u}) {
    ranks.add_ranks()->set_index(index);
    ranks.mutable_ranks()->rbegin()->set_score(index == 0 ? 0.9f : 0.1f);
  }
  fake.On<inferwire::TextEmbeddings::RerankForm::Method>().Reply(ranks);

  auto tei = inferwire::EmbeddingClient<inferwire::TextEmbeddings>::Create(
      {.targets = {fake.target()}, .credentials = inferwire::Insecure()});
  absl::StatusOr<inferwire::Embeddings> vectors =
      tei->Embed({"a cat", "a dog"});  // (*vectors)[0] is a std::span<const float>
  absl::StatusOr<std::vector<inferwire::Ranked>> best = tei->Rerank("pets", {"a cat", "a train"});

  REQUIRE(vectors.ok());
  std::span<const float> first = (*vectors)[0];
  CHECK(first[0] == 0.5f);
  REQUIRE(best.ok());
  CHECK(best->front().index == 0);
}

TEST_CASE("api: same server for what belongs together", "[api]") {
  inferwire::CallOptions turn{.affinity = "session-42"};  // prefix caches, sequences, sticky sessions
  CHECK(turn.affinity == "session-42");
}
