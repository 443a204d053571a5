// SPDX-License-Identifier: Apache-2.0
//
// A story as a server of language models generates it: with an end, stop strings and token ids. Plain C++, no gRPC.
#ifndef INFERWIRE_EXAMPLES_SERVER_CONTINUATION_H_
#define INFERWIRE_EXAMPLES_SERVER_CONTINUATION_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "server/storyteller.h"
#include "server/words.h"

namespace inferwire::examples {

/// Continues a text. The next token is a function of the seed and of the text so far alone, whoever wrote that: it
/// depends on the text's last words, and on chance that is drawn anew for each token from the seed and the number of
/// bytes before it. So a text that another server has begun goes on, byte for byte, as it would have gone on there.
class Continuation {
 public:
  static constexpr std::int64_t kMostTokens = 100'000;
  static constexpr std::int64_t kTokens = 1024;  // where the caller does not say
  /// The token by which a story says that it has ended: no word's.
  static constexpr std::uint32_t kEndToken = kTokenIds;

  struct Terms {
    std::string prompt = {};
    std::uint64_t seed = 0;
    std::int64_t max_tokens = 0;  // 0: kTokens
    std::vector<std::string> stop = {};
    std::vector<std::uint32_t> stop_token_ids = {};
    bool include_stop = false;  // a stop string is part of the text
    bool ignore_end = false;    // goes on behind the end
  };

  enum class End {
    kNone,
    kLength,
    kStory,  // it told kEndToken, which is no part of it
    kStopString,
    kStopToken,  // which is a part of it
  };

  /// What a step has brought: whole tokens, but for the text before a stop string.
  struct Part {
    std::string text = {};
    std::vector<std::uint32_t> token_ids = {};
    End end = End::kNone;
    std::string stop_string = {};
    std::uint32_t stop_token = 0;

    bool empty() const { return token_ids.empty() && end == End::kNone; }
  };

  /// INVALID_ARGUMENT unless `max_tokens` is 0 to 100000 and no stop string is empty. Must not outlive the Storyteller.
  static absl::StatusOr<Continuation> Create(const Storyteller& teller, Terms terms);

  /// One token's step. Nothing comes of it while the last tokens may be the beginning of a stop string: they come as
  /// soon as they are none. Not to be called behind the end.
  Part Next();

  std::int64_t prompt_tokens() const { return prompt_tokens_; }
  /// Of the parts so far.
  std::int64_t tokens() const { return tokens_; }

 private:
  struct Token {
    std::string text;
    std::uint32_t id;
  };

  Continuation(const Storyteller& teller, Terms terms);

  bool Ends() const;
  std::string Held() const;
  std::size_t Safe() const;  // how many held tokens come before the first in which a stop string may have begun
  bool FindStop(Part& part);
  void Give(std::size_t count, Part& part);
  Part Finish(Part part, End end);

  const Storyteller* teller_;
  Terms terms_;
  std::int64_t prompt_tokens_;
  std::string text_;         // the prompt's end, and what came behind it
  std::uint64_t bytes_ = 0;  // of all text so far
  std::vector<Token> held_;  // drawn and not given
  std::int64_t tokens_ = 0;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_CONTINUATION_H_
