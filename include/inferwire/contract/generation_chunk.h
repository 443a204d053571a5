// SPDX-License-Identifier: Apache-2.0
//
// What one message of a server says of a generation, before it is put together.
#ifndef INFERWIRE_CONTRACT_GENERATION_CHUNK_H_
#define INFERWIRE_CONTRACT_GENERATION_CHUNK_H_

#include <absl/container/inlined_vector.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {

/// Of one sequence.
struct GenerationPiece {
  int index = 0;
  std::string text = {};
  std::vector<std::int32_t> token_ids = {};
  std::vector<TokenLogprob> logprobs = {};
  std::optional<FinishReason> finish_reason = std::nullopt;
  std::string finish_word = {};
  StoppedBy stopped_by = {};
  /// Text, ids and logprobs are all that came so far of the sequence, and not what comes next of it.
  bool cumulative = false;
  /// They repeat what the messages before have brought: only the end counts, if something was brought.
  bool repeats = false;
  /// How many tokens this piece is, where its ids do not say; and how many the sequence has so far.
  std::optional<std::int64_t> tokens = std::nullopt;
  std::optional<std::int64_t> tokens_so_far = std::nullopt;
};

/// A contract's Decode fills it in.
struct GenerationChunk {
  absl::InlinedVector<GenerationPiece, 1> pieces = {};
  std::optional<std::int64_t> prompt_tokens = std::nullopt;
  std::optional<std::int64_t> cached_tokens = std::nullopt;
  /// Of all sequences so far, where a server counts them together.
  std::optional<std::int64_t> completion_tokens = std::nullopt;
  /// The attempt whose server sent it; the client fills it in.
  int attempt = 0;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_GENERATION_CHUNK_H_
