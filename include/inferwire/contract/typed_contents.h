// SPDX-License-Identifier: Apache-2.0
//
// Typed contents in place of raw ones, for servers of the Open Inference Protocol that read nothing else.
#ifndef INFERWIRE_CONTRACT_TYPED_CONTENTS_H_
#define INFERWIRE_CONTRACT_TYPED_CONTENTS_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "inferwire/contract/open_inference.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {

/// A dialect whose requests carry numbers instead of bytes: `InferenceClient<TypedContents<OpenInferenceKServe>>`. They
/// are copied, and take more room on the wire. FP16 and BF16 have no typed form and are INVALID_ARGUMENT. Answers may
/// be raw or typed, as always.
template <class Dialect>
struct TypedContents : Dialect {
  using Dialect::Decode;
  using Dialect::Encode;

  static absl::StatusOr<open_inference::ModelInferRequest> Encode(const InferRequest& request) {
    absl::StatusOr<open_inference::ModelInferRequest> out = Dialect::EncodeHeader(request);
    if (!out.ok()) return out;
    for (int i = 0; i < out->inputs_size(); ++i) {
      const InferInput& input = request.inputs()[static_cast<std::size_t>(i)];
      if (input.placement().has_value()) continue;
      if (absl::Status status = Fill(input, *out->mutable_inputs(i)->mutable_contents()); !status.ok()) return status;
    }
    return out;
  }

 private:
  template <class T, class Field>
  static absl::Status Numbers(const InferInput& input, Field& field) {
    const std::span<const T> elements(reinterpret_cast<const T*>(input.bytes().data()), input.size());
    field.Add(elements.begin(), elements.end());
    return absl::OkStatus();
  }

  static absl::Status Fill(const InferInput& input, open_inference::InferTensorContents& out) {
    switch (input.datatype()) {
      case DataType::kBool:
        return Numbers<bool>(input, *out.mutable_bool_contents());
      case DataType::kInt8:
        return Numbers<std::int8_t>(input, *out.mutable_int_contents());
      case DataType::kInt16:
        return Numbers<std::int16_t>(input, *out.mutable_int_contents());
      case DataType::kInt32:
        return Numbers<std::int32_t>(input, *out.mutable_int_contents());
      case DataType::kInt64:
        return Numbers<std::int64_t>(input, *out.mutable_int64_contents());
      case DataType::kUint8:
        return Numbers<std::uint8_t>(input, *out.mutable_uint_contents());
      case DataType::kUint16:
        return Numbers<std::uint16_t>(input, *out.mutable_uint_contents());
      case DataType::kUint32:
        return Numbers<std::uint32_t>(input, *out.mutable_uint_contents());
      case DataType::kUint64:
        return Numbers<std::uint64_t>(input, *out.mutable_uint64_contents());
      case DataType::kFp32:
        return Numbers<float>(input, *out.mutable_fp32_contents());
      case DataType::kFp64:
        return Numbers<double>(input, *out.mutable_fp64_contents());
      case DataType::kBytes:
        for (const std::string& element : input.strings()) out.add_bytes_contents(element);
        return absl::OkStatus();
      case DataType::kFp16:
      case DataType::kBf16:
        break;
    }
    return detail::InvalidArgumentError(detail::Cat("input '", input.name(), "': ", DataTypeName(input.datatype()),
                                                    " exists only as raw contents, and typed ones are sent here"));
  }
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_TYPED_CONTENTS_H_
