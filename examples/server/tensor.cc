// SPDX-License-Identifier: Apache-2.0
#include "server/tensor.h"

#include <absl/strings/str_cat.h>

#include <limits>

#include "server/text.h"

namespace inferwire::examples {
namespace {

constexpr std::size_t kLengthPrefix = 4;

absl::Status Bad(const TensorView& tensor, const std::string& reason) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quote(tensor.name), ": ", reason));
}

std::uint32_t LengthPrefix(std::string_view data) {
  std::uint32_t length;
  std::memcpy(&length, data.data(), kLengthPrefix);
  return length;
}

absl::Status CheckStrings(const TensorView& tensor, std::uint64_t count) {
  std::string_view rest = tensor.data;
  std::uint64_t found = 0;
  for (; !rest.empty(); ++found) {
    if (rest.size() < kLengthPrefix) {
      return Bad(tensor, absl::StrCat("element ", found, " has ", rest.size(), " bytes left for its length of 4"));
    }
    const std::uint32_t length = LengthPrefix(rest);
    rest.remove_prefix(kLengthPrefix);
    if (length > rest.size()) {
      return Bad(tensor, absl::StrCat("element ", found, " says ", length, " bytes, but ", rest.size(), " are left"));
    }
    rest.remove_prefix(length);
  }
  if (found == count) return absl::OkStatus();
  return Bad(tensor, absl::StrCat("shape ", ShapeText(tensor.shape), " needs ", count, " elements of BYTES, but ",
                                  found, " were given"));
}

}  // namespace

absl::StatusOr<std::size_t> ElementSize(std::string_view datatype) {
  struct Row {
    std::string_view datatype;
    std::size_t size;
  };
  static constexpr Row kRows[] = {{"BOOL", 1},  {"INT8", 1},   {"UINT8", 1}, {"INT16", 2},  {"UINT16", 2},
                                  {"FP16", 2},  {"BF16", 2},   {"INT32", 4}, {"UINT32", 4}, {"FP32", 4},
                                  {"INT64", 8}, {"UINT64", 8}, {"FP64", 8},  {"BYTES", 0}};
  std::vector<std::string> known;
  for (const Row& row : kRows) {
    if (row.datatype == datatype) return row.size;
    known.emplace_back(row.datatype);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown datatype ", Quote(datatype), "; expected one of ", List(known)));
}

absl::StatusOr<std::uint64_t> ElementCount(const Shape& shape) {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t count = 1;
  bool overflow = false, zero = false;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ShapeText(shape), ": expected dimensions of 0 or more, found ", dimension));
    }
    const auto size = static_cast<std::uint64_t>(dimension);
    zero = zero || size == 0;
    overflow = overflow || (size != 0 && count > kMost / size);
    if (!overflow && !zero) count *= size;
  }
  if (zero) return std::uint64_t{0};
  if (overflow) {
    return absl::InvalidArgumentError(absl::StrCat("shape ", ShapeText(shape), ": more elements than can be counted"));
  }
  return count;
}

absl::Status CheckData(const TensorView& tensor) {
  absl::StatusOr<std::size_t> size = ElementSize(tensor.datatype);
  if (!size.ok()) return Bad(tensor, std::string(size.status().message()));
  absl::StatusOr<std::uint64_t> count = ElementCount(tensor.shape);
  if (!count.ok()) return Bad(tensor, std::string(count.status().message()));
  if (*size == 0) return CheckStrings(tensor, *count);
  // By division: the product of a lying shape may overflow.
  if (tensor.data.size() % *size == 0 && tensor.data.size() / *size == *count) return absl::OkStatus();
  return Bad(tensor, absl::StrCat(tensor.datatype, " of shape ", ShapeText(tensor.shape), " needs ", *count,
                                  " elements of ", *size, " bytes, but ", tensor.data.size(), " bytes were given"));
}

std::vector<std::string_view> Strings(const TensorView& tensor) {
  std::vector<std::string_view> strings;
  for (std::string_view rest = tensor.data; !rest.empty();) {
    const std::uint32_t length = LengthPrefix(rest);
    strings.push_back(rest.substr(kLengthPrefix, length));
    rest.remove_prefix(kLengthPrefix + length);
  }
  return strings;
}

void AppendString(std::string_view element, std::string& data) {
  const auto length = static_cast<std::uint32_t>(element.size());
  char prefix[kLengthPrefix];
  std::memcpy(prefix, &length, kLengthPrefix);
  data.append(prefix, kLengthPrefix).append(element);
}

}  // namespace inferwire::examples
