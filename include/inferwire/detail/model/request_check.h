// SPDX-License-Identifier: Apache-2.0
//
// A request held against what a model says of itself, before anything is sent.
#ifndef INFERWIRE_DETAIL_MODEL_REQUEST_CHECK_H_
#define INFERWIRE_DETAIL_MODEL_REQUEST_CHECK_H_

#include <absl/status/status.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/model_metadata.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

inline const TensorMetadata* FindTensor(const std::vector<TensorMetadata>& tensors, std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const auto& one) { return one.name == name; });
  return found != tensors.end() ? &*found : nullptr;
}

/// "'image' (FP32 [-1,64]), 'size' (INT32 [1])"
inline std::string Describe(const std::vector<TensorMetadata>& tensors) {
  std::string out;
  for (const TensorMetadata& tensor : tensors) {
    out += Cat(out.empty() ? "'" : ", '", tensor.name, "' (", DataTypeName(tensor.datatype), " ",
               tensor.shape.ToString(), ")");
  }
  return out.empty() ? "none" : out;
}

/// Of a contract whose servers take inputs that their metadata does not say: whether this is one.
using AlsoTakes = bool (*)(const ModelMetadata& model, const TensorMetadata& expected, DataType given,
                           std::size_t rank);

inline bool Fits(const Shape& shape, const Shape& expected) {
  if (shape.rank() != expected.rank()) return false;
  for (std::size_t i = 0; i < shape.rank(); ++i) {
    if (expected[i] >= 0 && shape[i] != expected[i]) return false;
  }
  return true;
}

}  // namespace detail

/// INVALID_ARGUMENT, naming what the model expects, for an input that it does not have, or of another datatype or
/// shape, and for an output that it does not give. Whether all inputs are there is the model's to say: some are
/// optional. `also_takes`, if given, knows what servers take that they do not say.
inline absl::Status CheckRequest(const InferRequest& request, const ModelMetadata& model,
                                 detail::AlsoTakes also_takes = nullptr) {
  // A server that lists none knows none.
  if (!model.inputs.empty()) {
    for (const InferInput& input : request.inputs()) {
      const TensorMetadata* const expected = detail::FindTensor(model.inputs, input.name());
      if (expected == nullptr) {
        return detail::InvalidArgumentError(detail::Cat("model '", model.name, "' has no input '", input.name(),
                                                        "'; it expects ", detail::Describe(model.inputs)));
      }
      const bool said = input.datatype() == expected->datatype && detail::Fits(input.shape(), expected->shape);
      if (!said && (also_takes == nullptr || !also_takes(model, *expected, input.datatype(), input.shape().rank()))) {
        return detail::InvalidArgumentError(detail::Cat(
            "input '", input.name(), "' is ", DataTypeName(input.datatype()), " ", input.shape().ToString(),
            "; model '", model.name, "' expects ", DataTypeName(expected->datatype), " ", expected->shape.ToString()));
      }
    }
  }
  if (!model.outputs.empty()) {
    for (const RequestedOutput& output : request.outputs()) {
      if (detail::FindTensor(model.outputs, output.name) != nullptr) continue;
      return detail::InvalidArgumentError(detail::Cat("model '", model.name, "' has no output '", output.name,
                                                      "'; it gives ", detail::Describe(model.outputs)));
    }
  }
  return absl::OkStatus();
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_MODEL_REQUEST_CHECK_H_
