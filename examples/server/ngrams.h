// SPDX-License-Identifier: Apache-2.0
//
// A small embedding of texts: plain C++, no gRPC.
#ifndef INFERWIRE_EXAMPLES_SERVER_NGRAMS_H_
#define INFERWIRE_EXAMPLES_SERVER_NGRAMS_H_

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace inferwire::examples {

inline constexpr std::size_t kEmbeddingDimensions = 256;

/// The runs of 3 to 5 characters of each word, which has a space on both sides and no capitals: of "Ox" " ox", "ox "
/// and " ox ". Bytes beyond ASCII are characters.
std::vector<std::string> NGrams(std::string_view text);

/// Each n-gram adds 1 to one of the dimensions or takes 1 from it, as its hash says, so that those that share a
/// dimension cancel out on average (feature hashing: Weinberger et al., 2009). Texts with many words, or parts of
/// words, in common are close. Of the length 1 if `normalize`, and of 0 where the text has no words.
std::vector<float> EmbedText(std::string_view text, bool normalize = true,
                             std::size_t dimensions = kEmbeddingDimensions);

/// -1 to 1; 0 where one of them has no length.
float Cosine(std::span<const float> a, std::span<const float> b);

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_NGRAMS_H_
