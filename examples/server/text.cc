// SPDX-License-Identifier: Apache-2.0
#include "server/text.h"

#include <absl/strings/escaping.h>
#include <absl/strings/str_cat.h>

namespace inferwire::examples {
namespace {

constexpr std::size_t kLongestName = 80;
constexpr std::size_t kMostDimensions = 8;

}  // namespace

std::string Quote(std::string_view text) {
  const std::string_view start = text.substr(0, kLongestName);
  const std::string escaped = absl::CHexEscape(absl::string_view(start.data(), start.size()));
  return absl::StrCat("'", escaped, start.size() < text.size() ? "..." : "", "'");
}

std::string ShapeText(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i == kMostDimensions) {
      absl::StrAppend(&text, ",... ", shape.size(), " dimensions");
      break;
    }
    absl::StrAppend(&text, i == 0 ? "" : ",", shape[i]);
  }
  return text + "]";
}

std::string List(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : i + 1 == names.size() ? " and " : ", ", names[i]);
  }
  return text;
}

}  // namespace inferwire::examples
