// SPDX-License-Identifier: Apache-2.0
//
// What the contracts of the engines behind the SMG gateway have in common, each with generated types of its own: token
// ids without a sign, logprobs as lists side by side, and an end that repeats what came before it.
#ifndef INFERWIRE_DETAIL_CONTRACT_SMG_H_
#define INFERWIRE_DETAIL_CONTRACT_SMG_H_

#include <absl/status/status.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/contract/generation_chunk.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace smg {

/// INVALID_ARGUMENT naming the field where an id is below 0.
template <class Ids>
absl::Status PutIds(std::string_view field, const std::vector<std::int32_t>& from, Ids& to) {
  to.Reserve(static_cast<int>(from.size()));
  for (const std::int32_t id : from) {
    if (id < 0) return InvalidArgumentError(Cat(field, " has ", id, "; expected none below 0"));
    to.Add(static_cast<std::uint32_t>(id));
  }
  return absl::OkStatus();
}

/// For contracts that carry token ids alone.
template <class Ids>
absl::Status PutPrompt(const GenerationRequest& request, Ids& to) {
  const auto* const ids = std::get_if<std::vector<std::int32_t>>(&request.prompt);
  if (ids == nullptr) return InvalidArgumentError("prompt is text; expected token ids");
  return PutIds("prompt", *ids, to);
}

/// Below 0 an engine may take it for the whole vocabulary.
inline absl::Status CheckLogprobs(const GenerationRequest& request) {
  if (request.logprobs.value_or(0) >= 0) return absl::OkStatus();
  return InvalidArgumentError(Cat("logprobs is ", *request.logprobs, "; expected at least 0"));
}

inline absl::Status TakeId(std::uint32_t from, std::int32_t& to) {
  if (from > std::uint32_t{(std::numeric_limits<std::int32_t>::max)()}) return Contradiction(Cat("token ", from));
  to = static_cast<std::int32_t>(from);
  return absl::OkStatus();
}

/// Of the sequence `index`, these tokens.
template <class Ids>
absl::Status TakePiece(std::uint32_t index, const Ids& ids, GenerationPiece& piece) {
  constexpr std::uint32_t kMaxIndex = 1u << 20;
  if (index > kMaxIndex) return Contradiction(Cat("sequence ", index));
  piece.index = static_cast<int>(index);
  piece.token_ids.reserve(static_cast<std::size_t>(ids.size()));
  for (const std::uint32_t id : ids) {
    if (absl::Status status = TakeId(id, piece.token_ids.emplace_back()); !status.ok()) return status;
  }
  return absl::OkStatus();
}

/// What a message tells of the prompt, which has a token at least; messages of requests that were aborted early tell 0.
template <class Message>
void TakeUsage(const Message& from, GenerationChunk& chunk) {
  if (from.prompt_tokens() == 0) return;
  chunk.prompt_tokens = from.prompt_tokens();
  chunk.cached_tokens = from.cached_tokens();
}

/// Engines put the token that was chosen first, whether it is the likeliest or not.
inline void SortCandidates(std::vector<TokenLogprob::Candidate>& candidates) {
  const auto key = [](const TokenLogprob::Candidate& one) {
    return std::isnan(one.logprob) ? -std::numeric_limits<float>::infinity() : one.logprob;
  };
  std::sort(candidates.begin(), candidates.end(),
            [&](const auto& a, const auto& b) { return key(a) != key(b) ? key(a) > key(b) : a.token_id < b.token_id; });
}

/// Of messages that have them as lists side by side.
template <class OutputLogProbs>
absl::Status TakeLogprobs(const OutputLogProbs& from, std::vector<TokenLogprob>& to) {
  const int size = from.token_logprobs_size();
  const int likeliest = from.top_logprobs_size();
  if (from.token_ids_size() != size || (likeliest > 0 && likeliest != size)) {
    return Contradiction(
        Cat(size, " logprobs of ", from.token_ids_size(), " tokens, and the likeliest in ", likeliest, " places"));
  }
  to.reserve(static_cast<std::size_t>(size));
  for (int i = 0; i < size; ++i) {
    TokenLogprob& one = to.emplace_back();
    if (absl::Status status = TakeId(from.token_ids(i), one.token_id); !status.ok()) return status;
    one.logprob = from.token_logprobs(i);
    if (likeliest == 0) continue;
    const auto& top = from.top_logprobs(i);
    if (top.values_size() != top.token_ids_size()) {
      return Contradiction(Cat(top.values_size(), " logprobs of ", top.token_ids_size(), " of the likeliest tokens"));
    }
    for (int k = 0; k < top.values_size(); ++k) {
      TokenLogprob::Candidate& candidate = one.candidates.emplace_back();
      if (absl::Status status = TakeId(top.token_ids(k), candidate.token_id); !status.ok()) return status;
      candidate.logprob = top.values(k);
    }
    SortCandidates(one.candidates);
  }
  return absl::OkStatus();
}

/// Words that newer engines may have mean that the sequence has ended as well.
inline FinishReason FinishReasonOf(std::string_view word) {
  if (word == "length") return FinishReason::kLength;
  if (word == "error") return FinishReason::kError;
  for (const std::string_view aborted : {"abort", "aborted", "cancelled", "timeout"}) {
    if (word == aborted) return FinishReason::kAborted;
  }
  return FinishReason::kStop;
}

/// How a sequence ended. What else the message has was there before, where the answer came in pieces.
template <class Complete>
absl::Status TakeEnd(Complete& from, GenerationPiece& piece) {
  piece.repeats = true;
  piece.finish_word = std::move(*from.mutable_finish_reason());
  piece.finish_reason = FinishReasonOf(piece.finish_word);
  if (from.has_matched_token_id()) {  // which may be 0
    return TakeId(from.matched_token_id(), piece.stopped_by.template emplace<std::int32_t>());
  }
  if (from.has_matched_stop_str()) piece.stopped_by = std::move(*from.mutable_matched_stop_str());
  return absl::OkStatus();
}

}  // namespace smg
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CONTRACT_SMG_H_
