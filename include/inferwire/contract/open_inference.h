// SPDX-License-Identifier: Apache-2.0
//
// The Open Inference Protocol (KServe v2): Triton, KServe, OpenVINO Model Server, and others in their own dialects.
#ifndef INFERWIRE_CONTRACT_OPEN_INFERENCE_H_
#define INFERWIRE_CONTRACT_OPEN_INFERENCE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/contract/contract.h"
#include "inferwire/contract/open_inference.grpc.pb.h"
#include "inferwire/detail/text.h"
#include "inferwire/model_metadata.h"

namespace inferwire {
inline namespace v0 {

/// The unary part of the protocol, as Triton, KServe and OpenVINO Model Server speak it. The messages live in a private
/// package, so that an application may link another copy of them, and are called under their public names. Requests
/// carry raw contents; answers may be raw or typed.
struct OpenInference {
  using Stub = open_inference::GRPCInferenceService::Stub;
  using Infer = Rpc<&Stub::ModelInfer, "inference.GRPCInferenceService">;
  using ServerLive = Rpc<&Stub::ServerLive, "inference.GRPCInferenceService">;
  using ServerReady = Rpc<&Stub::ServerReady, "inference.GRPCInferenceService">;
  using ModelReady = Rpc<&Stub::ModelReady, "inference.GRPCInferenceService">;
  using ServerMetadata = Rpc<&Stub::ServerMetadata, "inference.GRPCInferenceService">;
  using ModelMetadata = Rpc<&Stub::ModelMetadata, "inference.GRPCInferenceService">;

  static absl::StatusOr<open_inference::ModelInferRequest> Encode(const InferRequest& request) {
    open_inference::ModelInferRequest out;
    out.set_model_name(request.model());
    out.set_model_version(request.version());
    out.set_id(request.id());
    for (const auto& [key, value] : request.parameters()) SetParameter((*out.mutable_parameters())[key], value);
    for (const std::string& name : request.outputs()) out.add_outputs()->set_name(name);
    for (const InferInput& input : request.inputs()) {
      auto* const tensor = out.add_inputs();
      tensor->set_name(input.name());
      tensor->set_datatype(std::string(DataTypeName(input.datatype())));
      tensor->mutable_shape()->Add(input.shape().begin(), input.shape().end());
      std::string* const raw = out.add_raw_input_contents();
      if (input.datatype() == DataType::kBytes) {
        if (absl::Status status = AppendStrings(input, *raw); !status.ok()) return status;
      } else {
        raw->assign(reinterpret_cast<const char*>(input.bytes().data()), input.bytes().size());
      }
    }
    return out;
  }

  /// INTERNAL, naming the output and what is wrong with it, where the server contradicts itself.
  static absl::StatusOr<InferResult> Decode(open_inference::ModelInferResponse&& response) {
    InferResult result;
    result.set_model(std::string(response.model_name()));
    result.set_version(std::string(response.model_version()));
    result.set_id(std::string(response.id()));
    for (const auto& [key, value] : response.parameters()) {
      if (value.parameter_choice_case() != open_inference::InferParameter::PARAMETER_CHOICE_NOT_SET) {
        result.set_parameter(std::string(key), GetParameter(value));
      }
    }
    const bool raw = response.raw_output_contents_size() > 0;
    if (raw && response.raw_output_contents_size() != response.outputs_size()) {
      return Broken(
          detail::Cat(response.outputs_size(), " outputs but ", response.raw_output_contents_size(), " raw contents"));
    }
    for (int i = 0; i < response.outputs_size(); ++i) {
      auto& output = *response.mutable_outputs(i);
      absl::Status status =
          raw && output.contents().ByteSizeLong() > 0  // MLServer puts empty contents beside raw ones
              ? Broken(detail::Cat("output '", std::string_view(output.name()), "' has raw and typed contents"))
              : DecodeOutput(output, raw ? response.mutable_raw_output_contents(i) : nullptr, result);
      if (!status.ok()) return status;
    }
    if (!result.status().ok()) return Broken(detail::ToStd(result.status().message()));
    return result;
  }

  /// Triton, once it was asked to exit, goes on taking calls and says NOT_FOUND for the models it has let go.
  static bool Draining(const absl::Status& status) {
    return status.code() == absl::StatusCode::kNotFound &&
           detail::ToStd(status.message()).find("has no available versions") != std::string_view::npos;
  }

  static v0::ServerMetadata Decode(open_inference::ServerMetadataResponse&& response) {
    return {std::string(response.name()),
            std::string(response.version()),
            {response.extensions().begin(), response.extensions().end()}};
  }

  /// INTERNAL for a datatype that does not exist.
  static absl::StatusOr<v0::ModelMetadata> Decode(open_inference::ModelMetadataResponse&& response) {
    v0::ModelMetadata metadata{std::string(response.name()),
                               {response.versions().begin(), response.versions().end()},
                               std::string(response.platform()),
                               {},
                               {}};
    for (const auto& [from, to] :
         {std::pair(&response.inputs(), &metadata.inputs), std::pair(&response.outputs(), &metadata.outputs)}) {
      for (const auto& tensor : *from) {
        const absl::StatusOr<DataType> datatype = ParseDataType(std::string_view(tensor.datatype()));
        if (!datatype.ok())
          return Broken(detail::Cat("tensor '", std::string_view(tensor.name()),
                                    "': ", detail::ToStd(datatype.status().message())));
        to->push_back({std::string(tensor.name()), *datatype, ShapeOf(tensor.shape())});
      }
    }
    return metadata;
  }

 private:
  using OutputTensor = open_inference::ModelInferResponse::InferOutputTensor;

  static absl::Status Broken(std::string_view what) {
    return absl::InternalError(detail::Cat("the server's answer contradicts itself: ", what));
  }

  template <class Dimensions>
  static Shape ShapeOf(const Dimensions& dimensions) {
    return Shape(std::span<const std::int64_t>(dimensions.data(), static_cast<std::size_t>(dimensions.size())));
  }

  static void SetParameter(open_inference::InferParameter& out, const Parameter& value) {
    std::visit(
        [&](const auto& v) {
          using V = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<V, bool>) {
            out.set_bool_param(v);
          } else if constexpr (std::is_same_v<V, std::int64_t>) {
            out.set_int64_param(v);
          } else if constexpr (std::is_same_v<V, double>) {
            out.set_double_param(v);
          } else {
            out.set_string_param(v);
          }
        },
        value);
  }
  // An unsigned value beyond int64 becomes a double: nearly right rather than negative.
  static Parameter GetParameter(const open_inference::InferParameter& value) {
    if (value.has_bool_param()) return value.bool_param();
    if (value.has_int64_param()) return value.int64_param();
    if (value.has_double_param()) return value.double_param();
    if (value.has_string_param()) return std::string(value.string_param());
    if (value.uint64_param() <= static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)())) {
      return static_cast<std::int64_t>(value.uint64_param());
    }
    return static_cast<double>(value.uint64_param());
  }

  // Raw BYTES: each element behind its length, 4 bytes little-endian.
  static absl::Status AppendStrings(const InferInput& input, std::string& raw) {
    std::size_t size = 0;
    for (const std::string& element : input.strings()) {
      if (element.size() > (std::numeric_limits<std::uint32_t>::max)()) {
        return absl::InvalidArgumentError(detail::Cat("input '", input.name(), "': an element of ", element.size(),
                                                      " bytes; a BYTES element has at most 4294967295"));
      }
      size += 4 + element.size();
    }
    raw.reserve(size);
    for (const std::string& element : input.strings()) {
      const auto length = static_cast<std::uint32_t>(element.size());
      char prefix[4];
      std::memcpy(prefix, &length, 4);
      raw.append(prefix, 4).append(element);
    }
    return absl::OkStatus();
  }

  static absl::Status DecodeOutput(OutputTensor& output, std::string* raw, InferResult& result) {
    const std::string name(output.name());
    const absl::StatusOr<DataType> datatype = ParseDataType(std::string_view(output.datatype()));
    if (!datatype.ok()) return Broken(detail::Cat("output '", name, "': ", detail::ToStd(datatype.status().message())));
    Shape shape = ShapeOf(output.shape());
    const absl::StatusOr<std::int64_t> count = ElementCount(shape);
    if (!count.ok()) return Broken(detail::Cat("output '", name, "': ", detail::ToStd(count.status().message())));
    if (output.parameters().contains("shared_memory_region")) return absl::OkStatus();  // its elements are there
    if (raw == nullptr) return DecodeTyped(name, *datatype, std::move(shape), *output.mutable_contents(), result);
    if (*datatype != DataType::kBytes) {
      const std::uint64_t width = ElementSize(*datatype);
      if (raw->size() % width != 0 || raw->size() / width != static_cast<std::uint64_t>(*count)) {
        return Broken(detail::Cat("output '", name, "': ", output.datatype(), " ", shape.ToString(), " does not take ",
                                  raw->size(), " bytes"));
      }
      result.AddBytes(name, *datatype, std::move(*raw), std::move(shape));
      return absl::OkStatus();
    }
    return DecodeStrings(name, std::move(shape), *count, *raw, result);
  }

  static absl::Status DecodeStrings(const std::string& name, Shape shape, std::int64_t count, std::string_view raw,
                                    InferResult& result) {
    std::vector<std::string> elements;
    // Every element has a prefix of 4 bytes, so this allocates no more than what arrived can fill.
    if (static_cast<std::uint64_t>(count) > raw.size() / 4) {
      return Broken(
          detail::Cat("output '", name, "': BYTES ", shape.ToString(), " does not fit in ", raw.size(), " bytes"));
    }
    for (std::size_t at = 0; at < raw.size();) {
      std::uint32_t length = 0;
      if (raw.size() - at < 4)
        return Broken(detail::Cat("output '", name, "': ", raw.size() - at, " bytes are left over"));
      std::memcpy(&length, raw.data() + at, 4);
      at += 4;
      if (length > raw.size() - at) {
        return Broken(detail::Cat("output '", name, "': an element claims ", length, " bytes where ", raw.size() - at,
                                  " are left"));
      }
      if (elements.size() == static_cast<std::uint64_t>(count)) {
        return Broken(detail::Cat("output '", name, "': more elements than BYTES ", shape.ToString(), " holds"));
      }
      elements.emplace_back(raw.substr(at, length));
      at += length;
    }
    result.Add(name, std::move(elements), std::move(shape));
    return absl::OkStatus();
  }

  // Typed contents: the small integers share fields of 32 bits, and the 16-bit floats have none.
  static absl::Status DecodeTyped(const std::string& name, DataType datatype, Shape shape,
                                  open_inference::InferTensorContents& contents, InferResult& result) {
    switch (datatype) {
      case DataType::kBool:
        result.Add(name, std::vector<bool>(contents.bool_contents().begin(), contents.bool_contents().end()),
                   std::move(shape));
        return absl::OkStatus();
      case DataType::kInt8:
        return AddNarrow<std::int8_t>(name, contents.int_contents(), std::move(shape), result);
      case DataType::kInt16:
        return AddNarrow<std::int16_t>(name, contents.int_contents(), std::move(shape), result);
      case DataType::kInt32:
        return AddNarrow<std::int32_t>(name, contents.int_contents(), std::move(shape), result);
      case DataType::kInt64:
        return AddNarrow<std::int64_t>(name, contents.int64_contents(), std::move(shape), result);
      case DataType::kUint8:
        return AddNarrow<std::uint8_t>(name, contents.uint_contents(), std::move(shape), result);
      case DataType::kUint16:
        return AddNarrow<std::uint16_t>(name, contents.uint_contents(), std::move(shape), result);
      case DataType::kUint32:
        return AddNarrow<std::uint32_t>(name, contents.uint_contents(), std::move(shape), result);
      case DataType::kUint64:
        return AddNarrow<std::uint64_t>(name, contents.uint64_contents(), std::move(shape), result);
      case DataType::kFp32:
        return AddNarrow<float>(name, contents.fp32_contents(), std::move(shape), result);
      case DataType::kFp64:
        return AddNarrow<double>(name, contents.fp64_contents(), std::move(shape), result);
      case DataType::kBytes: {
        std::vector<std::string> elements;
        elements.reserve(static_cast<std::size_t>(contents.bytes_contents_size()));
        for (std::string& element : *contents.mutable_bytes_contents()) elements.push_back(std::move(element));
        result.Add(name, std::move(elements), std::move(shape));
        return absl::OkStatus();
      }
      case DataType::kFp16:
      case DataType::kBf16:
        break;
    }
    return Broken(detail::Cat("output '", name, "': ", DataTypeName(datatype), " exists only as raw contents"));
  }

  template <class T, class Field>
  static absl::Status AddNarrow(const std::string& name, const Field& field, Shape shape, InferResult& result) {
    std::vector<T> elements;
    elements.reserve(static_cast<std::size_t>(field.size()));
    for (const auto value : field) {
      if constexpr (std::is_integral_v<T>) {
        if (!std::in_range<T>(value)) {
          return Broken(detail::Cat("output '", name, "': ", value, " is no ", DataTypeName(DataTypeOf<T>)));
        }
      }
      elements.push_back(static_cast<T>(value));
    }
    result.Add(name, std::move(elements), std::move(shape));
    return absl::OkStatus();
  }
};
static_assert(Contract<OpenInference>);

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_OPEN_INFERENCE_H_
