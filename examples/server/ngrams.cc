// SPDX-License-Identifier: Apache-2.0
#include "server/ngrams.h"

#include <absl/strings/ascii.h>

#include <cmath>
#include <cstdint>

#include "server/words.h"

namespace inferwire::examples {
namespace {

constexpr std::size_t kShortest = 3;
constexpr std::size_t kLongest = 5;

template <class Visit>
void ForEachNGram(std::string_view text, Visit visit) {
  std::string word = " ";
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const unsigned char c = i < text.size() ? static_cast<unsigned char>(text[i]) : ' ';
    if (absl::ascii_isalnum(c) || c >= 0x80) {
      word.push_back(absl::ascii_tolower(c));
      continue;
    }
    if (word.size() == 1) continue;
    word.push_back(' ');
    for (std::size_t n = kShortest; n <= kLongest; ++n) {
      for (std::size_t at = 0; at + n <= word.size(); ++at) visit(std::string_view(word).substr(at, n));
    }
    word.resize(1);
  }
}

double Dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

}  // namespace

std::vector<std::string> NGrams(std::string_view text) {
  std::vector<std::string> all;
  ForEachNGram(text, [&](std::string_view gram) { all.emplace_back(gram); });
  return all;
}

std::vector<float> EmbedText(std::string_view text, bool normalize, std::size_t dimensions) {
  std::vector<float> vector(dimensions);
  ForEachNGram(text, [&](std::string_view gram) {
    const std::uint64_t hash = StableHash(gram);
    vector[static_cast<std::size_t>((hash >> 1) % dimensions)] += hash % 2 == 0 ? 1.0f : -1.0f;
  });
  const double length = std::sqrt(Dot(vector, vector));
  if (!normalize || length == 0) return vector;
  for (float& value : vector) value = static_cast<float>(static_cast<double>(value) / length);
  return vector;
}

float Cosine(std::span<const float> a, std::span<const float> b) {
  const double lengths = std::sqrt(Dot(a, a) * Dot(b, b));
  return lengths == 0 ? 0.0f : static_cast<float>(Dot(a, b) / lengths);
}

}  // namespace inferwire::examples
