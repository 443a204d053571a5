// SPDX-License-Identifier: Apache-2.0
//
// Requests joined to one along their first dimension, and its answer split again: what is done to tensors in a batch.
#ifndef INFERWIRE_DETAIL_BATCH_ROWS_H_
#define INFERWIRE_DETAIL_BATCH_ROWS_H_

#include <absl/container/inlined_vector.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// How many rows a well-formed request brings; nothing where its inputs do not agree, or have no rows.
inline std::optional<std::int64_t> CountRows(const InferRequest& request) {
  std::optional<std::int64_t> rows;
  for (const InferInput& input : request.inputs()) {
    if (input.shape().rank() == 0 || input.shape()[0] == 0) return std::nullopt;
    if (rows.value_or(input.shape()[0]) != input.shape()[0]) return std::nullopt;
    rows = input.shape()[0];
  }
  return rows;
}

/// Inputs are told apart by name; their order does not matter.
inline absl::InlinedVector<const InferInput*, 4> ByName(const InferRequest& request) {
  absl::InlinedVector<const InferInput*, 4> inputs;
  for (const InferInput& input : request.inputs()) inputs.push_back(&input);
  std::sort(inputs.begin(), inputs.end(), [](const auto* a, const auto* b) { return a->name() < b->name(); });
  return inputs;
}

/// Requests can be joined where this is the same: names, datatypes and all dimensions but the first of their inputs,
/// and the outputs that they ask for.
inline std::string JoinKey(const InferRequest& request) {
  std::string key;
  // Lengths in front, so that no name can pass for something else.
  for (const InferInput* input : ByName(request)) {
    const Shape& shape = input->shape();
    key += Cat(input->name().size(), ":", input->name(), DataTypeName(input->datatype()));
    for (std::size_t i = 1; i < shape.rank(); ++i) key += Cat(",", shape[i]);
    key += ';';
  }
  for (const RequestedOutput& output : request.outputs()) key += Cat(">", output.name.size(), ":", output.name);
  return key;
}

/// The rows of requests of one JoinKey, input by input, one behind another. Not safe from several threads while it
/// changes.
class JoinedRows {
 public:
  /// Room is made for so many rows at once, as far as that is not much.
  explicit JoinedRows(std::int64_t most) : most_(static_cast<std::size_t>(most)) {}

  std::int64_t rows() const { return rows_; }

  /// Copies the elements of a request that has `rows` of them.
  void Append(const InferRequest& request, std::int64_t rows) {
    const auto inputs = ByName(request);
    if (columns_.empty()) {
      for (const InferInput* input : inputs) columns_.push_back(MakeColumn(*input, rows));
      for (const RequestedOutput& output : request.outputs()) outputs_.push_back(output.name);
    }
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      columns_[i].bytes.insert(columns_[i].bytes.end(), inputs[i]->bytes().begin(), inputs[i]->bytes().end());
      columns_[i].strings.insert(columns_[i].strings.end(), inputs[i]->strings().begin(), inputs[i]->strings().end());
    }
    rows_ += rows;
  }

  /// Takes `count` rows out again, from `first` on.
  void Erase(std::int64_t first, std::int64_t count) {
    for (Column& column : columns_) {
      if (column.datatype == DataType::kBytes) {
        EraseRows(column.strings, column.row, first, count);
      } else {
        EraseRows(column.bytes, column.row * ElementSize(column.datatype), first, count);
      }
    }
    rows_ -= count;
  }

  /// A request of `count` rows from `first` on, which keeps `joined` and refers to its elements. Nothing may be added
  /// or erased hereafter.
  static InferRequest Request(const std::shared_ptr<const JoinedRows>& joined, std::int64_t first, std::int64_t count) {
    InferRequest request;
    for (const Column& column : joined->columns_) {
      const Shape shape = column.shape.WithFirst(count);
      const std::size_t at = static_cast<std::size_t>(first) * column.row;
      const std::size_t size = static_cast<std::size_t>(count) * column.row;
      if (column.datatype != DataType::kBytes) {
        const std::size_t width = ElementSize(column.datatype);
        const auto bytes = std::span<const std::byte>(column.bytes).subspan(at * width, size * width);
        request.add_input(InferInput::FromBytes(column.name, column.datatype, bytes, shape, joined));
      } else if (size == column.strings.size()) {
        const std::shared_ptr<const std::vector<std::string>> strings(joined, &column.strings);
        request.add_input(InferInput(column.name, strings, shape));
      } else {
        const auto part = std::span<const std::string>(column.strings).subspan(at, size);
        request.add_input(InferInput(column.name, std::vector<std::string>(part.begin(), part.end()), shape));
      }
    }
    request.set_outputs(joined->outputs_);
    return request;
  }

 private:
  struct Column {
    std::string name;
    DataType datatype = DataType::kBytes;
    Shape shape;          // of the first request
    std::size_t row = 0;  // elements
    std::vector<std::byte> bytes;
    std::vector<std::string> strings;
  };

  // What is reserved beyond need costs little; large rows are not copied for the room of others that may never come.
  static constexpr std::size_t kReserve = std::size_t{1} << 20;

  template <class Elements>
  static void EraseRows(Elements& elements, std::size_t row, std::int64_t first, std::int64_t count) {
    const auto begin = elements.begin() + first * static_cast<std::int64_t>(row);
    elements.erase(begin, begin + count * static_cast<std::int64_t>(row));
  }
  Column MakeColumn(const InferInput& input, std::int64_t rows) const {
    Column column{input.name(), input.datatype(), input.shape(), input.size() / static_cast<std::size_t>(rows), {}, {}};
    const std::size_t row = input.bytes().size() / static_cast<std::size_t>(rows);
    if (row > 0) column.bytes.reserve((std::min)(most_, (std::max<std::size_t>)(kReserve / row, 1)) * row);
    return column;
  }

  const std::size_t most_;
  std::int64_t rows_ = 0;
  std::vector<Column> columns_;  // by name
  std::vector<std::string> outputs_;
};

/// INTERNAL naming the output whose first dimension is not the batch's rows.
inline absl::Status CheckRows(const InferResult& result, std::int64_t rows) {
  for (const InferOutput& output : result.outputs()) {
    const Shape& shape = output.shape();
    if (shape.rank() > 0 && shape[0] == rows) continue;
    return detail::InternalError(Cat("output '", output.name(), "' of a batch of ", rows, " rows has the shape ",
                                     shape.ToString(), shape.rank() == 0 ? ", which has no rows" : "", "; expected ",
                                     rows, " as its first dimension"));
  }
  return absl::OkStatus();
}

/// A part of an answer that CheckRows has passed: `count` rows from `first` on. Shares the elements.
inline absl::StatusOr<InferResult> SplitRows(const InferResult& result, std::int64_t first, std::int64_t count) {
  InferResult part;
  part.set_model(result.model());
  part.set_version(result.version());
  for (const auto& [key, value] : result.parameters()) part.set_parameter(key, value);
  part.Reserve(result.outputs().size());
  for (const InferOutput& output : result.outputs()) part.AddRows(output, first, count);
  if (!part.status().ok()) return detail::InternalError(part.status().message());
  return part;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BATCH_ROWS_H_
