// SPDX-License-Identifier: Apache-2.0
#include "server/words.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <cstddef>

namespace inferwire::examples {
namespace {

bool IsWordPart(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }

}  // namespace

std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  for (std::size_t i = 0; i < text.size();) {
    if (IsWordPart(text[i])) {
      std::size_t end = i + 1;
      const auto joins = [&](char c) { return c == '\'' || c == '-'; };
      while (end < text.size() &&
             (IsWordPart(text[end]) || (joins(text[end]) && end + 1 < text.size() && IsWordPart(text[end + 1])))) {
        ++end;
      }
      words.push_back(text.substr(i, end - i));
      i = end;
    } else if (text.substr(i, 2) == "--") {
      words.push_back(text.substr(i, 2));
      i = std::min(text.find_first_not_of('-', i), text.size());
    } else {
      if (std::string_view(".,;:!?").find(text[i]) != std::string_view::npos) words.push_back(text.substr(i, 1));
      ++i;
    }
  }
  return words;
}

std::uint64_t StableHash(std::string_view bytes, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  // MurmurHash3's last step.
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
  return hash ^ (hash >> 33);
}

}  // namespace inferwire::examples
