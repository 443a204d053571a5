// SPDX-License-Identifier: Apache-2.0
//
// The digit classifier and the held-out images it is measured with: plain C++, no gRPC.
#ifndef INFERWIRE_EXAMPLES_SERVER_DIGITS_H_
#define INFERWIRE_EXAMPLES_SERVER_DIGITS_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace inferwire::examples {

inline constexpr std::size_t kDigitPixels = 64;
inline constexpr std::size_t kDigitClasses = 10;

/// Handwritten digits of 8x8 pixels, row by row, each 0 (paper) to 16 (ink), and what each one is.
struct DigitSet {
  std::vector<float> pixels;  // [labels.size()][64]
  std::vector<int> labels;

  std::size_t size() const { return labels.size(); }
  std::span<const float> image(std::size_t i) const {
    return std::span<const float>(pixels).subspan(i * kDigitPixels, kDigitPixels);
  }
};

/// Reads held_out.bin. NOT_FOUND without the file; DATA_LOSS naming file, found and expected when it is not one.
absl::StatusOr<DigitSet> LoadDigitSet(const std::string& path);

/// A small neural network: ReLU between its layers, softmax after the last. Immutable, so safe from any thread.
class DigitClassifier {
 public:
  /// Reads weights.bin; errors as LoadDigitSet's.
  static absl::StatusOr<DigitClassifier> Load(const std::string& path);

  /// Pixels [n][64] of 0 to 16 -> probabilities [n][10]. INVALID_ARGUMENT unless n > 0.
  absl::StatusOr<std::vector<float>> Classify(std::span<const float> pixels) const;

 private:
  struct Layer {
    std::size_t inputs = 0;
    std::size_t outputs = 0;
    std::vector<float> weights;  // [inputs][outputs]
    std::vector<float> biases;   // [outputs]
  };

  explicit DigitClassifier(std::vector<Layer> layers) : layers_(std::move(layers)) {}

  std::vector<Layer> layers_;
};

/// The class of the highest probability, one for each row of probabilities [n][10].
std::vector<int> MostProbable(std::span<const float> probabilities);

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_DIGITS_H_
