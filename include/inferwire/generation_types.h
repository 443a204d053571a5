// SPDX-License-Identifier: Apache-2.0
//
// The words of text generation, whatever the contract: what is asked of a language model, and what it answers.
#ifndef INFERWIRE_GENERATION_TYPES_H_
#define INFERWIRE_GENERATION_TYPES_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/stats.h"

namespace inferwire {
inline namespace v0 {

/// One turn of a conversation.
struct ChatMessage {
  std::string role;  ///< "system", "user", "assistant"
  std::string content;
};

/// What a language model is asked. What is unset is as the server has it. What a contract cannot carry is
/// INVALID_ARGUMENT, naming the field and the contract, before anything is sent.
struct GenerationRequest {
  /// Text, or token ids of the model's own vocabulary.
  std::variant<std::string, std::vector<std::int32_t>> prompt = {};
  /// In place of a prompt, for contracts that have a form for conversations.
  std::vector<ChatMessage> messages = {};
  /// Where the server has several.
  std::string model = {};
  std::optional<int> max_tokens = std::nullopt;
  /// 0: always the likeliest token.
  std::optional<float> temperature = std::nullopt;
  /// Of the tokens that are the likeliest and together have this probability.
  std::optional<float> top_p = std::nullopt;
  /// Of the so many likeliest tokens.
  std::optional<int> top_k = std::nullopt;
  /// Of the tokens that have at least this share of the likeliest one's probability.
  std::optional<float> min_p = std::nullopt;
  std::optional<float> presence_penalty = std::nullopt;
  std::optional<float> frequency_penalty = std::nullopt;
  std::optional<float> repetition_penalty = std::nullopt;
  std::optional<std::int64_t> seed = std::nullopt;
  /// How many sequences are made of the prompt; deltas say which they belong to.
  int n = 1;
  /// The generation ends before the first of these. Where the contract has none, the client sees to it.
  std::vector<std::string> stop = {};
  std::vector<std::int32_t> stop_token_ids = {};
  /// Goes on behind the token by which the model says that it has ended.
  bool ignore_eos = false;
  /// Of each token, and of so many of the likeliest beside it.
  std::optional<int> logprobs = std::nullopt;
  // At most one of these says what form the text has.
  std::optional<std::string> json_schema = std::nullopt;
  std::optional<std::string> regex = std::nullopt;
  std::optional<std::string> grammar = std::nullopt;
  std::vector<std::string> choice = {};
  /// The name of a LoRA adapter.
  std::string adapter = {};
  std::optional<int> priority = std::nullopt;
  /// By which the server knows it; empty: one of the client's making where the contract wants one.
  std::string request_id = {};
};

/// Why a sequence has ended.
enum class FinishReason {
  kStop,     ///< the model ended it, or a stop string or token came
  kLength,   ///< max_tokens, or the server's own limit
  kAborted,  ///< somebody aborted it
  kError,    ///< the server failed
};
/// "stop", "length", "aborted", "error".
inline std::string_view FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAborted:
      return "aborted";
    case FinishReason::kError:
      break;
  }
  return "error";
}
inline std::ostream& operator<<(std::ostream& out, FinishReason reason) { return out << FinishReasonName(reason); }

/// The stop string or the token by which a sequence ended, where it is known.
using StoppedBy = std::variant<std::monostate, std::string, std::int32_t>;

struct TokenLogprob {
  struct Candidate {
    std::int32_t token_id = 0;
    std::string text = {};
    float logprob = 0;
  };
  std::int32_t token_id = 0;
  std::string text = {};
  float logprob = 0;
  std::vector<Candidate> candidates = {};  ///< the likeliest in its place, the likeliest first
};

/// What came next of a sequence. Text is what it adds, never what was given before, and never ends inside a UTF-8
/// character.
struct GenerationDelta {
  int index = 0;  ///< which of the request's n sequences
  std::string text = {};
  std::vector<std::int32_t> token_ids = {};  ///< empty where the contract tells none
  std::vector<TokenLogprob> logprobs = {};
  /// Once for each sequence, with its last delta.
  std::optional<FinishReason> finish_reason = std::nullopt;
  std::string finish_word = {};  ///< the server's own word for it
  StoppedBy stopped_by = {};
};

/// A number that a server may not tell; prints as "unknown" then.
struct TokenCount : std::optional<std::int64_t> {
  using std::optional<std::int64_t>::optional;
  friend std::ostream& operator<<(std::ostream& out, const TokenCount& count) {
    return count.has_value() ? out << *count : out << "unknown";
  }
};

/// Of all sequences together.
struct GenerationUsage {
  TokenCount prompt_tokens = {};
  TokenCount cached_tokens = {};  ///< of the prompt's, those that were computed before
  TokenCount completion_tokens = {};
};

/// One whole sequence.
struct GenerationChoice {
  std::string text = {};
  std::vector<std::int32_t> token_ids = {};
  std::vector<TokenLogprob> logprobs = {};
  FinishReason finish_reason = FinishReason::kStop;
  std::string finish_word = {};  ///< the server's own word for it; empty where the contract has none
  StoppedBy stopped_by = {};
};

/// All of an answer: the first sequence, and all of them as `choices`.
struct Generation : GenerationChoice {
  std::vector<GenerationChoice> choices = {};
  GenerationUsage usage = {};
};

/// Text to token ids and back, for contracts that carry ids alone. Called from several threads at once, and what they
/// throw is caught.
struct Tokenizer {
  std::function<absl::StatusOr<std::vector<std::int32_t>>(std::string_view text)> encode;
  /// The bytes of some tokens that follow one another; they may end inside a character.
  std::function<absl::StatusOr<std::string>(std::span<const std::int32_t> token_ids)> decode;
};

struct GenerationOptions {
  /// A generation that breaks goes on at another target: the prompt and what was received are sent there, `max_tokens`
  /// reduced, and each token is given once. For one sequence, and not for conversations, which cannot be gone on with.
  bool resume = false;
  std::optional<Tokenizer> tokenizer = std::nullopt;
};

/// How a generation went so far, as the client saw it.
struct GenerationStats {
  std::int64_t tokens = 0;                                   ///< those that were told or, where none are, deltas
  std::optional<absl::Duration> first_token = std::nullopt;  ///< from the start of the call
  std::optional<absl::Duration> gap_p50 = std::nullopt;      ///< between messages that brought something
  std::optional<absl::Duration> gap_p99 = std::nullopt;
  double tokens_per_second = 0;  ///< from the first message to the last
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_GENERATION_TYPES_H_
