// SPDX-License-Identifier: Apache-2.0
//
// The words of embeddings and reranking, whatever the contract.
#ifndef INFERWIRE_EMBEDDING_TYPES_H_
#define INFERWIRE_EMBEDDING_TYPES_H_

#include <absl/base/attributes.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace inferwire {
inline namespace v0 {

/// How texts are embedded, ranked and classified. What a contract cannot carry is INVALID_ARGUMENT, naming the field.
struct EmbeddingOptions {
  /// Where the server has several.
  std::string model = {};
  /// Whether vectors have the length 1; unset: as the server does it.
  std::optional<bool> normalize = std::nullopt;
  /// Whether a text that is too long is cut; else it is refused.
  bool truncate = false;
  /// Of the vectors, for models that can make shorter ones.
  std::optional<int> dimensions = std::nullopt;
  /// The name of a prompt in the model's configuration that is put in front.
  std::string prompt_name = {};
  /// Scores as the model gives them, in place of probabilities.
  bool raw_scores = false;
  /// Texts in one request, for contracts that take several; more are split.
  int max_batch = 32;
  /// Requests that are under way at a time.
  int max_in_flight = 32;
};

/// Vectors in the order of their texts, as rows of one array.
class Embeddings {
 public:
  Embeddings() = default;
  Embeddings(std::vector<float> values, std::size_t dimensions) : values_(std::move(values)), dimensions_(dimensions) {}

  std::size_t size() const { return dimensions_ == 0 ? 0 : values_.size() / dimensions_; }
  bool empty() const { return size() == 0; }
  std::size_t dimensions() const { return dimensions_; }
  /// A view of the i-th vector. It lives as long as this.
  std::span<const float> operator[](std::size_t i) const& ABSL_ATTRIBUTE_LIFETIME_BOUND {
    return std::span<const float>(values_).subspan(i * dimensions_, dimensions_);
  }
  std::span<const float> operator[](std::size_t i) const&& = delete;
  /// All rows: [size(), dimensions()], row-major.
  std::span<const float> values() const& ABSL_ATTRIBUTE_LIFETIME_BOUND { return values_; }
  std::span<const float> values() const&& = delete;

 private:
  std::vector<float> values_;
  std::size_t dimensions_ = 0;
};

/// A term of the model's vocabulary, and its weight in a text.
struct SparseTerm {
  std::uint32_t index = 0;
  float value = 0;
};
using SparseEmbedding = std::vector<SparseTerm>;

/// How well a text answers a query.
struct Ranked {
  std::size_t index = 0;  ///< of the text
  float score = 0;
};

struct ClassScore {
  std::string label = {};  ///< or the number of the class, where the contract tells no names
  float score = 0;
};

struct TextToken {
  std::int32_t id = 0;
  std::string text = {};  ///< empty where the contract tells none
  bool special = false;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_EMBEDDING_TYPES_H_
