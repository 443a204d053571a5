// SPDX-License-Identifier: Apache-2.0
#include "server/continuation.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace inferwire::examples {
namespace {

// More than two words have, so that all that the storyteller remembers of a text is in its last bytes.
constexpr std::size_t kRemembered = 256;

// One of so many sentences is a story's last one.
constexpr std::uint64_t kSentences = 12;

// Chance for whatever stands behind so many bytes.
std::uint64_t Chance(std::string_view what, std::uint64_t seed, std::uint64_t bytes) {
  return StableHash(absl::StrCat(absl::string_view(what.data(), what.size()), bytes), seed);
}

}  // namespace

absl::StatusOr<Continuation> Continuation::Create(const Storyteller& teller, Terms terms) {
  if (terms.max_tokens < 0 || terms.max_tokens > kMostTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected at most ", kMostTokens, " tokens, found ", terms.max_tokens));
  }
  if (std::find(terms.stop.begin(), terms.stop.end(), "") != terms.stop.end()) {
    return absl::InvalidArgumentError("expected stop strings of at least one character, found an empty one");
  }
  if (terms.max_tokens == 0) terms.max_tokens = kTokens;
  return Continuation(teller, std::move(terms));
}

Continuation::Continuation(const Storyteller& teller, Terms terms)
    : teller_(&teller),
      terms_(std::move(terms)),
      prompt_tokens_(static_cast<std::int64_t>(Words(terms_.prompt).size())),
      text_(terms_.prompt.substr(terms_.prompt.size() - std::min(terms_.prompt.size(), kRemembered))),
      bytes_(terms_.prompt.size()) {}

Continuation::Part Continuation::Next() {
  Part part;
  if (!terms_.ignore_end && Ends()) return Finish(std::move(part), End::kStory);
  const std::string next = teller_->Tell(text_, Chance("token", terms_.seed, bytes_)).Next();
  const std::uint32_t id = TokenId(std::string_view(next).substr(next.front() == ' ' ? 1 : 0));
  text_ += next;
  text_.erase(0, text_.size() - std::min(text_.size(), kRemembered));
  bytes_ += next.size();
  held_.push_back({next, id});

  if (FindStop(part)) return part;
  if (std::find(terms_.stop_token_ids.begin(), terms_.stop_token_ids.end(), id) != terms_.stop_token_ids.end()) {
    part.stop_token = id;
    return Finish(std::move(part), End::kStopToken);
  }
  if (tokens_ + static_cast<std::int64_t>(held_.size()) >= terms_.max_tokens) {
    return Finish(std::move(part), End::kLength);
  }
  Give(Safe(), part);
  return part;
}

// Where a sentence has ended, at times the story has too.
bool Continuation::Ends() const {
  const char last = text_.empty() ? '\0' : text_.back();
  return (last == '.' || last == '!' || last == '?') && Chance("end", terms_.seed, bytes_) % kSentences == 0;
}

std::string Continuation::Held() const {
  std::string text;
  for (const Token& token : held_) text += token.text;
  return text;
}

std::size_t Continuation::Safe() const {
  const std::string held = Held();
  const auto may_begin = [&](std::size_t at) {
    return std::any_of(terms_.stop.begin(), terms_.stop.end(),
                       [&](std::string_view stop) { return stop.starts_with(std::string_view(held).substr(at)); });
  };
  std::size_t count = 0;
  std::size_t at = 0;
  for (const Token& token : held_) {
    for (const std::size_t end = at + token.text.size(); at < end; ++at) {
      if (may_begin(at)) return count;
    }
    ++count;
  }
  return count;
}

bool Continuation::FindStop(Part& part) {
  const std::string held = Held();
  std::size_t first = std::string::npos;
  for (const std::string& stop : terms_.stop) {
    const std::size_t at = held.find(stop);
    if (at >= first) continue;  // npos is
    first = at;
    part.stop_string = stop;
  }
  if (first == std::string::npos) return false;
  Give(held_.size(), part);
  part.text.resize(first + (terms_.include_stop ? part.stop_string.size() : 0));
  part.end = End::kStopString;
  return true;
}

void Continuation::Give(std::size_t count, Part& part) {
  for (std::size_t i = 0; i < count; ++i) {
    part.text += held_[i].text;
    part.token_ids.push_back(held_[i].id);
  }
  held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(count));
  tokens_ += static_cast<std::int64_t>(count);
}

Continuation::Part Continuation::Finish(Part part, End end) {
  Give(held_.size(), part);
  part.end = end;
  return part;
}

}  // namespace inferwire::examples
