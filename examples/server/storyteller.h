// SPDX-License-Identifier: Apache-2.0
//
// A small language model: continues a text, one token at a time, in the manner of the text it was built from.
#ifndef INFERWIRE_EXAMPLES_SERVER_STORYTELLER_H_
#define INFERWIRE_EXAMPLES_SERVER_STORYTELLER_H_

#include <absl/container/flat_hash_map.h>
#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace inferwire::examples {

/// An n-gram model of order 3 with interpolated absolute discounting (Ney, Essen and Kneser, 1994): what two words were
/// followed by, backed off to what one word was followed by, backed off to how frequent words are. Immutable once
/// built, so safe from any thread.
class Storyteller {
 public:
  /// One continuation. The same prompt and seed tell the same story on every machine. Must not outlive its Storyteller.
  class Story {
   public:
    /// The next token with the spacing before it: the story is its tokens joined with nothing between them.
    std::string Next();

   private:
    friend class Storyteller;
    Story(const Storyteller& teller, std::string_view prompt, std::uint64_t seed);

    const Storyteller& teller_;
    std::mt19937_64 random_;
    std::array<std::uint32_t, 2> context_;
    bool begun_ = false;  // some token stands before the next one
    bool tight_ = false;  // the next one needs no space before it
  };

  /// INVALID_ARGUMENT unless the text has some sentences.
  static absl::StatusOr<Storyteller> Build(std::string_view text);

  Story Tell(std::string_view prompt, std::uint64_t seed) const { return Story(*this, prompt, seed); }

 private:
  // What followed a context, in the order of first sight, and how often.
  struct Followers {
    struct Entry {
      std::uint32_t token;
      std::uint32_t count;
    };
    std::vector<Entry> entries;
    std::uint32_t total = 0;

    void Count(std::uint32_t token);
  };

  std::uint32_t Draw(const std::array<std::uint32_t, 2>& context, std::mt19937_64& random) const;

  std::vector<std::string> words_;
  absl::flat_hash_map<std::string, std::uint32_t> tokens_;
  Followers unigrams_;
  absl::flat_hash_map<std::uint32_t, Followers> bigrams_;
  absl::flat_hash_map<std::uint64_t, Followers> trigrams_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_STORYTELLER_H_
