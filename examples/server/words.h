// SPDX-License-Identifier: Apache-2.0
//
// Text as the example models read it: words and punctuation, and a number for each.
#ifndef INFERWIRE_EXAMPLES_SERVER_WORDS_H_
#define INFERWIRE_EXAMPLES_SERVER_WORDS_H_

#include <cstdint>
#include <string_view>
#include <vector>

namespace inferwire::examples {

/// Words, with the apostrophes and hyphens inside them, and the punctuation that a reader needs, as views of the text.
/// Quotation marks and brackets are left out: they come in pairs, and a memory of two words cannot close what it
/// opened.
std::vector<std::string_view> Words(std::string_view text);

/// The same on every machine and in every build: FNV-1a (Fowler, Noll, Vo), mixed so that all bits are worth the same.
std::uint64_t StableHash(std::string_view bytes, std::uint64_t seed = 0);

/// What stands for a word where a contract wants numbers; words may share one.
inline constexpr std::uint32_t kTokenIds = 1 << 15;
inline std::uint32_t TokenId(std::string_view word) { return static_cast<std::uint32_t>(StableHash(word) % kTokenIds); }

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_WORDS_H_
