// SPDX-License-Identifier: Apache-2.0
#include "server/digits.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "server/file.h"
#include "server/text.h"

namespace inferwire::examples {
namespace {

constexpr float kInk = 16;
// Far above what a file of ours holds, and small enough that no product of two overflows.
constexpr std::uint32_t kMostLayers = 16;
constexpr std::uint32_t kWidestLayer = 65536;

// Takes numbers from the front of a file's content. The first one that is not there ends all reading.
class Reader {
 public:
  Reader(std::string path, std::string_view content) : path_(std::move(path)), size_(content.size()), rest_(content) {}

  absl::Status Magic(std::string_view magic) {
    if (!rest_.starts_with(magic)) {
      return Bad(absl::StrCat("expected it to begin with ", Quote(magic), ", but it begins with ",
                              Quote(rest_.substr(0, magic.size()))));
    }
    rest_.remove_prefix(magic.size());
    return absl::OkStatus();
  }

  absl::StatusOr<std::string_view> Bytes(std::uint64_t count, std::string_view what) {
    if (count > rest_.size()) {
      return Bad(absl::StrCat("expected ", count, " bytes of ", std::string(what), " at offset ", size_ - rest_.size(),
                              ", but only ", rest_.size(), " are there"));
    }
    const std::string_view bytes = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return bytes;
  }

  absl::StatusOr<std::uint32_t> Uint32(std::uint32_t most, std::string_view what) {
    absl::StatusOr<std::string_view> bytes = Bytes(4, what);
    if (!bytes.ok()) return bytes.status();
    const std::uint32_t value = LittleEndian(bytes->data());
    if (value == 0 || value > most) {
      return Bad(absl::StrCat("expected the ", std::string(what), " to be 1 to ", most, ", found ", value));
    }
    return value;
  }

  absl::StatusOr<std::vector<float>> Floats(std::uint64_t count, std::string_view what) {
    absl::StatusOr<std::string_view> bytes = Bytes(count * 4, what);
    if (!bytes.ok()) return bytes.status();
    std::vector<float> values(count);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = std::bit_cast<float>(LittleEndian(bytes->data() + 4 * i));
      if (!std::isfinite(values[i])) return Bad(absl::StrCat("not a finite number among the ", std::string(what)));
    }
    return values;
  }

  absl::Status End() const {
    if (rest_.empty()) return absl::OkStatus();
    return Bad(absl::StrCat("expected ", size_ - rest_.size(), " bytes, but ", rest_.size(), " more follow"));
  }

  absl::Status Bad(std::string_view reason) const {
    return absl::DataLossError(absl::StrCat("the file ", Quote(path_), ": ", std::string(reason)));
  }

 private:
  static std::uint32_t LittleEndian(const char* bytes) {
    std::uint32_t value = 0;
    for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }

  std::string path_;
  std::size_t size_;
  std::string_view rest_;
};

void SoftmaxInPlace(std::span<float> row) {
  const float highest = *std::max_element(row.begin(), row.end());
  float sum = 0;
  for (float& value : row) sum += value = std::exp(value - highest);
  for (float& value : row) value /= sum;
}

}  // namespace

absl::StatusOr<DigitSet> LoadDigitSet(const std::string& path) {
  absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return content.status();
  Reader reader(path, *content);
  if (absl::Status status = reader.Magic("IWDIGSET"); !status.ok()) return status;
  absl::StatusOr<std::uint32_t> count = reader.Uint32(UINT32_MAX, "number of images");
  if (!count.ok()) return count.status();
  absl::StatusOr<std::string_view> pixels = reader.Bytes(std::uint64_t{*count} * kDigitPixels, "pixels");
  if (!pixels.ok()) return pixels.status();
  absl::StatusOr<std::string_view> labels = reader.Bytes(*count, "labels");
  if (!labels.ok()) return labels.status();
  if (absl::Status status = reader.End(); !status.ok()) return status;

  DigitSet set;
  for (const char byte : *pixels) {
    const auto pixel = static_cast<unsigned char>(byte);
    if (pixel > kInk) return reader.Bad(absl::StrCat("expected pixels of 0 to 16, found ", int{pixel}));
    set.pixels.push_back(pixel);
  }
  for (const char byte : *labels) {
    const auto label = static_cast<unsigned char>(byte);
    if (label >= kDigitClasses) return reader.Bad(absl::StrCat("expected labels of 0 to 9, found ", int{label}));
    set.labels.push_back(label);
  }
  return set;
}

absl::StatusOr<DigitClassifier> DigitClassifier::Load(const std::string& path) {
  absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return content.status();
  Reader reader(path, *content);
  if (absl::Status status = reader.Magic("IWDIGNET"); !status.ok()) return status;
  absl::StatusOr<std::uint32_t> count = reader.Uint32(kMostLayers, "number of layers");
  if (!count.ok()) return count.status();

  std::vector<Layer> layers;
  std::size_t width = kDigitPixels;
  for (std::uint32_t i = 0; i < *count; ++i) {
    absl::StatusOr<std::uint32_t> inputs = reader.Uint32(kWidestLayer, "number of a layer's inputs");
    if (!inputs.ok()) return inputs.status();
    absl::StatusOr<std::uint32_t> outputs = reader.Uint32(kWidestLayer, "number of a layer's outputs");
    if (!outputs.ok()) return outputs.status();
    if (*inputs != width) {
      return reader.Bad(absl::StrCat("expected layer ", i, " to take ", width, " inputs, found ", *inputs));
    }
    absl::StatusOr<std::vector<float>> weights = reader.Floats(std::uint64_t{*inputs} * *outputs, "weights");
    if (!weights.ok()) return weights.status();
    absl::StatusOr<std::vector<float>> biases = reader.Floats(*outputs, "biases");
    if (!biases.ok()) return biases.status();
    layers.push_back({*inputs, *outputs, *std::move(weights), *std::move(biases)});
    width = *outputs;
  }
  if (width != kDigitClasses) {
    return reader.Bad(absl::StrCat("expected the last layer to give 10 outputs, found ", width));
  }
  if (absl::Status status = reader.End(); !status.ok()) return status;
  return DigitClassifier(std::move(layers));
}

absl::StatusOr<std::vector<float>> DigitClassifier::Classify(std::span<const float> pixels) const {
  if (pixels.empty() || pixels.size() % kDigitPixels != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("digits: expected a multiple of 64 pixels, 64 an image; ", pixels.size(), " were given"));
  }
  std::vector<float> probabilities;
  probabilities.reserve(pixels.size() / kDigitPixels * kDigitClasses);
  std::vector<float> row, next;
  for (; !pixels.empty(); pixels = pixels.subspan(kDigitPixels)) {
    row.assign(pixels.begin(), pixels.begin() + kDigitPixels);
    for (float& pixel : row) pixel /= kInk;
    for (const Layer& layer : layers_) {
      next = layer.biases;
      for (std::size_t i = 0; i < layer.inputs; ++i) {
        const float* weights = &layer.weights[i * layer.outputs];
        for (std::size_t j = 0; j < layer.outputs; ++j) next[j] += row[i] * weights[j];
      }
      if (&layer != &layers_.back()) {
        // Written so that a NaN stays one: a broken input must not look like a confident answer.
        for (float& value : next) value = value < 0 ? 0 : value;
      }
      row.swap(next);
    }
    SoftmaxInPlace(row);
    probabilities.insert(probabilities.end(), row.begin(), row.end());
  }
  return probabilities;
}

std::vector<int> MostProbable(std::span<const float> probabilities) {
  std::vector<int> classes;
  for (; probabilities.size() >= kDigitClasses; probabilities = probabilities.subspan(kDigitClasses)) {
    const auto row = probabilities.first(kDigitClasses);
    classes.push_back(static_cast<int>(std::max_element(row.begin(), row.end()) - row.begin()));
  }
  return classes;
}

}  // namespace inferwire::examples
