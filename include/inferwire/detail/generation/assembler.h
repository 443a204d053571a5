// SPDX-License-Identifier: Apache-2.0
//
// Puts a generation together: from whatever messages a server sends, deltas that are never cumulative, never repeated,
// and never end inside a character. Pure: no gRPC, no lock, no time.
#ifndef INFERWIRE_DETAIL_GENERATION_ASSEMBLER_H_
#define INFERWIRE_DETAIL_GENERATION_ASSEMBLER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/contract/generation_chunk.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// How many bytes at the end of `text` are the beginning of a UTF-8 character whose rest is missing: 0 to 3.
inline std::size_t UnfinishedCharacter(std::string_view text) {
  for (std::size_t back = 1; back <= (std::min)(text.size(), std::size_t{3}); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;  // goes on
    const std::size_t length = byte >= 0xF0 && byte < 0xF8 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return byte < 0xF8 && length > back ? back : 0;
  }
  return 0;
}

/// How many bytes at the end of `text` may be the beginning of one of these.
inline std::size_t BeginningOfStop(std::string_view text, const std::vector<std::string>& stops) {
  std::size_t longest = 0;
  for (const std::string& stop : stops) {
    for (std::size_t size = (std::min)(text.size(), stop.size() - (stop.empty() ? 0 : 1)); size > longest; --size) {
      if (text.ends_with(std::string_view(stop).substr(0, size))) longest = size;
    }
  }
  return longest;
}

class Assembler {
 public:
  struct Terms {
    int n = 1;
    std::vector<std::string> stop = {};       // for the client to see to
    std::optional<Tokenizer> tokenizer = {};  // where the contract gives ids alone
    bool tells_finish = true;                 // the contract says how a sequence ended
    bool keeps = false;                       // all that came is kept, for resuming
  };

  explicit Assembler(Terms terms) : terms_(std::move(terms)) {
    sequences_.resize(static_cast<std::size_t>((std::max)(terms_.n, 1)));
  }

  /// Appends to `out` what a message adds. INTERNAL where it contradicts those before it.
  absl::Status Feed(GenerationChunk&& chunk, std::deque<GenerationDelta>& out) {
    if (chunk.attempt != attempt_) BeginAttempt(chunk.attempt);
    // Of an attempt that goes on what was received is part of the prompt.
    if (chunk.prompt_tokens.has_value() && !usage_.prompt_tokens.has_value()) {
      usage_.prompt_tokens.emplace(Sane(*chunk.prompt_tokens));
    }
    if (chunk.cached_tokens.has_value() && first_attempt_) usage_.cached_tokens.emplace(Sane(*chunk.cached_tokens));
    if (chunk.completion_tokens.has_value()) told_ = Sane(*chunk.completion_tokens);
    for (GenerationPiece& piece : chunk.pieces) {
      if (absl::Status status = Add(std::move(piece), out); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  /// The server's stream has ended with OK: appends what was held back. INTERNAL where a sequence has not ended and the
  /// contract would have told.
  absl::Status Close(std::deque<GenerationDelta>& out) {
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (sequences_[i].finished) continue;
      if (terms_.tells_finish) {
        return detail::InternalError(
            Cat("the server ended the call with OK, and did not say how the generation of sequence ", i, " had ended"));
      }
    }
    CloseAs(FinishReason::kStop, out);
    return absl::OkStatus();
  }

  /// The same where what is missing was received before the stream broke.
  void CloseAs(FinishReason reason, std::deque<GenerationDelta>& out) {
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (sequences_[i].finished) continue;
      GenerationDelta delta;
      delta.index = static_cast<int>(i);
      Finish(sequences_[i], reason, delta);
      out.push_back(std::move(delta));
    }
  }

  /// Whether a stop string has ended a sequence that the server does not know of.
  bool stopped_here() const { return stopped_here_; }
  /// All sequences have ended: what still comes is of no interest.
  bool finished() const {
    return std::all_of(sequences_.begin(), sequences_.end(), [](const Sequence& one) { return one.finished; });
  }
  GenerationUsage usage() const {
    GenerationUsage out = usage_;
    if (counted()) out.completion_tokens.emplace(before_ + TokensOfAttempt());
    return out;
  }
  /// Of the first sequence, where it is kept: what a request that goes on begins with.
  const std::string& received_text() const { return sequences_[0].all_text; }
  const std::vector<std::int32_t>& received_ids() const { return sequences_[0].all_ids; }
  /// Where the server counts nothing, a message that brings text is a token.
  std::int64_t received_tokens() const { return counted() ? before_ + TokensOfAttempt() : sequences_[0].messages; }

 private:
  struct Sequence {
    std::string held;           // came, and is not given yet
    std::size_t text_seen = 0;  // of this attempt, bytes and ids; what is cumulative begins with them
    std::size_t ids_seen = 0;
    std::size_t logprobs_seen = 0;
    std::int64_t tokens = 0;    // of this attempt
    std::int64_t messages = 0;  // that brought text
    bool counted = false;
    bool finished = false;
    std::string all_text;  // where terms say so
    std::vector<std::int32_t> all_ids;
  };

  void BeginAttempt(int attempt) {
    attempt_ = attempt;
    if (!std::exchange(any_, true)) return;
    first_attempt_ = false;
    before_ += TokensOfAttempt();
    told_.reset();
    for (Sequence& sequence : sequences_) {
      sequence.text_seen = sequence.ids_seen = sequence.logprobs_seen = 0;
      sequence.tokens = 0;
    }
  }

  // What the server says of all, or of each sequence, as far as it does.
  bool counted() const {
    return told_.has_value() || before_ > 0 ||
           std::any_of(sequences_.begin(), sequences_.end(), [](const Sequence& one) { return one.counted; });
  }
  std::int64_t TokensOfAttempt() const {
    std::int64_t tokens = 0;
    for (const Sequence& sequence : sequences_) tokens += sequence.tokens;
    return told_.value_or(tokens);
  }
  // A server's number: none below 0, and none so large that a sum of them is none.
  static std::int64_t Sane(std::int64_t count) { return (std::clamp)(count, std::int64_t{0}, std::int64_t{1} << 40); }

  template <class Container>
  static bool DropFront(Container& all, std::size_t seen) {
    if (all.size() < seen) return false;
    all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(seen));
    return true;
  }

  absl::Status Add(GenerationPiece&& piece, std::deque<GenerationDelta>& out) {
    any_ = true;
    if (piece.index < 0 || static_cast<std::size_t>(piece.index) >= sequences_.size()) {
      return Contradiction(Cat("it speaks of sequence ", piece.index, ", and ", sequences_.size(), " were asked for"));
    }
    Sequence& sequence = sequences_[static_cast<std::size_t>(piece.index)];
    if (sequence.finished) return absl::OkStatus();
    const bool brought = sequence.text_seen + sequence.ids_seen > 0 || sequence.tokens > 0;
    if (piece.repeats && brought) {
      piece.text.clear();
      piece.token_ids.clear();
      piece.logprobs.clear();
      piece.tokens.reset();
    } else if (piece.cumulative) {
      // What stands for a character whose bytes have not all come is another one next time.
      constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
      while (!piece.finish_reason.has_value() && piece.text.size() > sequence.text_seen &&
             piece.text.ends_with(kReplacement)) {
        piece.text.resize(piece.text.size() - kReplacement.size());
      }
      if (!DropFront(piece.text, sequence.text_seen) || !DropFront(piece.token_ids, sequence.ids_seen)) {
        return Contradiction("a text that is told from its beginning became shorter");
      }
      DropFront(piece.logprobs, (std::min)(sequence.logprobs_seen, piece.logprobs.size()));
    }
    sequence.text_seen += piece.text.size();
    sequence.ids_seen += piece.token_ids.size();
    sequence.logprobs_seen += piece.logprobs.size();
    sequence.messages += piece.text.empty() ? 0 : 1;
    Count(sequence, piece);
    if (terms_.keeps) sequence.all_ids.insert(sequence.all_ids.end(), piece.token_ids.begin(), piece.token_ids.end());
    if (piece.text.empty() && !piece.token_ids.empty() && terms_.tokenizer.has_value()) {
      absl::StatusOr<std::string> text =
          InvokeUser("Tokenizer::decode", [&] { return terms_.tokenizer->decode(piece.token_ids); });
      if (!text.ok()) return text.status();
      piece.text = *std::move(text);
    }
    if (terms_.keeps) sequence.all_text += piece.text;

    GenerationDelta delta;
    delta.index = piece.index;
    delta.token_ids = std::move(piece.token_ids);
    delta.logprobs = std::move(piece.logprobs);
    if (sequence.held.empty()) {
      sequence.held = std::move(piece.text);
    } else {
      sequence.held += piece.text;
    }
    if (!Stop(sequence, delta)) {
      if (piece.finish_reason.has_value()) {
        delta.finish_word = std::move(piece.finish_word);
        delta.stopped_by = std::move(piece.stopped_by);
        Finish(sequence, *piece.finish_reason, delta);
      } else {
        Give(sequence, delta);
      }
    }
    if (!delta.text.empty() || !delta.token_ids.empty() || !delta.logprobs.empty() || delta.finish_reason.has_value()) {
      out.push_back(std::move(delta));
    }
    return absl::OkStatus();
  }

  static void Count(Sequence& sequence, const GenerationPiece& piece) {
    if (piece.tokens_so_far.has_value()) {
      sequence.tokens = (std::max)(sequence.tokens, Sane(*piece.tokens_so_far));
      sequence.counted = true;
      return;
    }
    const auto tokens = piece.tokens.value_or(static_cast<std::int64_t>(piece.token_ids.size()));
    sequence.tokens = Sane(sequence.tokens + Sane(tokens));
    sequence.counted = sequence.counted || piece.tokens.has_value() || tokens > 0;
  }

  // Whether a stop string has come, which ends the sequence before it.
  bool Stop(Sequence& sequence, GenerationDelta& delta) {
    std::size_t at = std::string::npos;
    const std::string* found = nullptr;
    for (const std::string& stop : terms_.stop) {
      const std::size_t here = stop.empty() ? std::string::npos : sequence.held.find(stop);
      if (here < at) {
        at = here;
        found = &stop;
      }
    }
    if (found == nullptr) return false;
    delta.text = sequence.held.substr(0, at);
    delta.finish_reason = FinishReason::kStop;
    delta.stopped_by = *found;
    stopped_here_ = true;
    sequence.held.clear();
    sequence.finished = true;
    return true;
  }
  // All but what cannot be given yet.
  void Give(Sequence& sequence, GenerationDelta& delta) const {
    std::size_t back = BeginningOfStop(sequence.held, terms_.stop);
    back += UnfinishedCharacter(std::string_view(sequence.held).substr(0, sequence.held.size() - back));
    if (back == 0) {
      delta.text = std::exchange(sequence.held, {});
      return;
    }
    delta.text = sequence.held.substr(0, sequence.held.size() - back);
    sequence.held.erase(0, delta.text.size());
  }
  static void Finish(Sequence& sequence, FinishReason reason, GenerationDelta& delta) {
    delta.text = std::exchange(sequence.held, {});
    if (const std::size_t back = UnfinishedCharacter(delta.text); back > 0) {
      delta.text.replace(delta.text.size() - back, back, "\xEF\xBF\xBD");  // U+FFFD: its rest never comes
    }
    delta.finish_reason = reason;
    sequence.finished = true;
  }

  Terms terms_;
  std::vector<Sequence> sequences_;
  GenerationUsage usage_;
  std::optional<std::int64_t> told_;  // how many tokens this attempt has brought, in the server's words
  std::int64_t before_ = 0;           // those of the attempts before
  int attempt_ = 0;
  bool any_ = false;
  bool first_attempt_ = true;
  bool stopped_here_ = false;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_GENERATION_ASSEMBLER_H_
