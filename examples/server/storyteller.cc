// SPDX-License-Identifier: Apache-2.0
#include "server/storyteller.h"

#include <absl/status/status.h>
#include <absl/strings/ascii.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <string_view>

#include "server/words.h"

namespace inferwire::examples {
namespace {

// Taken from every count, as a share of one, and given to the shorter context. Larger means freer and less readable.
constexpr double kDiscount = 0.25;

// Stands for a word that was never read; nothing follows it, so that the model backs off.
constexpr std::uint32_t kUnknown = UINT32_MAX;

constexpr std::ptrdiff_t kFewestWords = 100;

bool IsWordPart(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }
bool IsPunctuation(std::string_view token) { return !IsWordPart(token[0]); }

std::uint64_t Pair(std::uint32_t first, std::uint32_t second) { return std::uint64_t{first} << 32 | second; }

// In [0, 1), and the same on every machine, which std::uniform_real_distribution does not promise.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

}  // namespace

void Storyteller::Followers::Count(std::uint32_t token) {
  ++total;
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.token == token; });
  if (found == entries.end()) {
    entries.push_back({token, 1});
  } else {
    ++found->count;
  }
}

absl::StatusOr<Storyteller> Storyteller::Build(std::string_view text) {
  const std::vector<std::string_view> read = Words(text);
  const std::ptrdiff_t words =
      std::count_if(read.begin(), read.end(), [](std::string_view token) { return !IsPunctuation(token); });
  if (words < kFewestWords) {
    return absl::InvalidArgumentError(
        absl::StrCat("storyteller: expected a text of at least ", kFewestWords, " words, found ", words));
  }
  Storyteller teller;
  std::vector<std::uint32_t> tokens;
  tokens.reserve(read.size());
  for (const std::string_view word : read) {
    const auto [entry, added] =
        teller.tokens_.try_emplace(std::string(word), static_cast<std::uint32_t>(teller.words_.size()));
    if (added) {
      teller.words_.emplace_back(word);
      teller.unigrams_.entries.push_back({entry->second, 0});
    }
    ++teller.unigrams_.entries[entry->second].count;
    tokens.push_back(entry->second);
  }
  teller.unigrams_.total = static_cast<std::uint32_t>(tokens.size());
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    teller.bigrams_[tokens[i - 1]].Count(tokens[i]);
    if (i > 1) teller.trigrams_[Pair(tokens[i - 2], tokens[i - 1])].Count(tokens[i]);
  }
  return teller;
}

std::uint32_t Storyteller::Draw(const std::array<std::uint32_t, 2>& context, std::mt19937_64& random) const {
  const auto trigram = trigrams_.find(Pair(context[0], context[1]));
  const auto bigram = bigrams_.find(context[1]);
  const Followers* const levels[] = {trigram == trigrams_.end() ? nullptr : &trigram->second,
                                     bigram == bigrams_.end() ? nullptr : &bigram->second};
  for (const Followers* followers : levels) {
    if (followers == nullptr) continue;
    // Every follower weighs its count less the discount; what is left over belongs to the shorter context.
    double left = Uniform(random) * followers->total;
    for (const Followers::Entry& entry : followers->entries) {
      left -= entry.count - kDiscount;
      if (left < 0) return entry.token;
    }
  }
  double left = Uniform(random) * unigrams_.total;
  for (const Followers::Entry& entry : unigrams_.entries) {
    left -= entry.count;
    if (left < 0) return entry.token;
  }
  return unigrams_.entries.back().token;
}

Storyteller::Story::Story(const Storyteller& teller, std::string_view prompt, std::uint64_t seed)
    : teller_(teller), random_(seed), context_{kUnknown, kUnknown} {
  const std::vector<std::string_view> tokens = Words(prompt);
  begun_ = !tokens.empty();
  tight_ = !begun_ || absl::ascii_isspace(static_cast<unsigned char>(prompt.back())) || prompt.ends_with("--");
  // A story without a prompt begins as a sentence does: after a full stop.
  if (const auto stop = teller.tokens_.find("."); !begun_ && stop != teller.tokens_.end()) context_[1] = stop->second;
  for (std::size_t i = tokens.size() < 2 ? 0 : tokens.size() - 2; i < tokens.size(); ++i) {
    const auto known = teller.tokens_.find(std::string(tokens[i]));
    context_ = {context_[1], known == teller.tokens_.end() ? kUnknown : known->second};
  }
}

std::string Storyteller::Story::Next() {
  std::uint32_t token = teller_.Draw(context_, random_);
  // The first token of all is a word, not a comma.
  while (!begun_ && IsPunctuation(teller_.words_[token])) token = teller_.Draw(context_, random_);
  const std::string& word = teller_.words_[token];
  const bool joins = tight_ || IsPunctuation(word);
  context_ = {context_[1], token};
  begun_ = true;
  tight_ = word == "--";
  return joins ? word : absl::StrCat(" ", word);
}

}  // namespace inferwire::examples
