// SPDX-License-Identifier: Apache-2.0
//
// SGLang's own gRPC server, over a scripted engine.
#include "inferwire/contract/sglang.h"

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "support/generation.h"

using inferwire::FinishReason;
using inferwire::GenerationDelta;
using inferwire::Sglang;
using namespace inferwire_test;  // NOLINT

namespace {
std::optional<std::string> SglangTarget() {
  if (const char* const value = std::getenv("INFERWIRE_SGLANG"); value != nullptr && *value != '\0') return value;
  WARN("skipped: INFERWIRE_SGLANG is not set; tests/interop/run sets it");
  return std::nullopt;
}
}  // namespace

TEST_CASE("SGLang answers text and ids, as deltas and as a whole", "[.][interop][sglang]") {
  const auto target = SglangTarget();
  if (!target) return;
  const auto llm = ConnectTo<Sglang>(*target);
  auto stream = llm.StreamGenerate({.prompt = "hi", .max_tokens = 4});
  std::vector<std::string> texts;
  std::optional<FinishReason> reason;
  for (GenerationDelta& delta : stream) {
    texts.push_back(delta.text);
    reason = delta.finish_reason;
  }
  INFO(stream.status());
  CHECK(stream.status().ok());
  CHECK(texts == std::vector<std::string>{" t0", " t1", " t2", " t3"});
  CHECK(reason == FinishReason::kLength);
  CHECK(stream.usage().prompt_tokens == 3);
  CHECK(stream.usage().completion_tokens == 4);
  const auto whole = llm.Generate({.prompt = "hi", .max_tokens = 3});
  REQUIRE(whole.ok());
  CHECK(whole->text == " t0 t1 t2");
  const auto ids = llm.AsyncGenerate({.prompt = std::vector<std::int32_t>{1, 2, 3}, .max_tokens = 3}).Get();
  INFO(ids.status());
  REQUIRE(ids.ok());
  CHECK(ids->token_ids == std::vector<std::int32_t>{0, 1, 2});
}

TEST_CASE("SGLang stops when its stream is dropped", "[.][interop][sglang]") {
  const auto target = SglangTarget();
  if (!target) return;
  const auto llm = ConnectTo<Sglang>(*target);
  for (GenerationDelta& delta : llm.StreamGenerate({.prompt = "hi", .max_tokens = 1000, .request_id = "dropped"})) {
    CHECK(delta.text == " t0");
    break;
  }
  CHECK(llm.Generate({.prompt = "hi", .max_tokens = 2}).ok());
  CHECK(llm.Stats().in_flight == 0);
}

TEST_CASE("many streams of SGLang at a time, each with its own tokens", "[.][interop][sglang]") {
  const auto target = SglangTarget();
  if (!target) return;
  const auto llm = ConnectTo<Sglang>(*target);
  int streams = 0;
  std::vector<inferwire::GenerationStream> many;
  for (int i = 0; i < 20; ++i) many.push_back(llm.StreamGenerate({.prompt = "hi", .max_tokens = 1 + i}));
  for (auto& stream : many) {
    int deltas = 0;
    for (GenerationDelta& delta : stream) deltas += delta.text.empty() ? 0 : 1;
    CHECK(stream.status().ok());
    CHECK(deltas == ++streams);
  }
}
