// SPDX-License-Identifier: Apache-2.0
//
// Requests in the Open Inference Protocol: what is written here, and the caller's tensors in between.
#ifndef INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_ENCODE_H_
#define INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_ENCODE_H_

#include <absl/container/inlined_vector.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/support/slice.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/open_inference_codec.h"
#include "inferwire/detail/contract/open_inference_fields.h"
#include "inferwire/detail/contract/open_inference_parameters.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/writer.h"
#include "inferwire/infer_request.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

struct OpenInferenceEncoder : OpenInferenceFields {
  static constexpr std::size_t kSentInPlace = OpenInferenceCodec::kSentInPlace;

  static absl::StatusOr<open_inference::ModelInferRequest> EncodeHeader(const InferRequest& request) {
    open_inference::ModelInferRequest out;
    out.set_model_name(request.model());
    out.set_model_version(request.version());
    out.set_id(request.id());
    absl::Status status = OpenInferenceParameters::Fill(request, *out.mutable_parameters());
    for (const RequestedOutput& output : request.outputs()) {
      auto* const tensor = out.add_outputs();
      tensor->set_name(output.name);
      status.Update(OpenInferenceParameters::Fill(output, *tensor->mutable_parameters()));
    }
    for (const InferInput& input : request.inputs()) {
      auto* const tensor = out.add_inputs();
      tensor->set_name(input.name());
      tensor->set_datatype(std::string(DataTypeName(input.datatype())));
      tensor->mutable_shape()->Add(input.shape().begin(), input.shape().end());
      status.Update(OpenInferenceParameters::Fill(input, *tensor->mutable_parameters()));
    }
    if (!status.ok()) return status;
    return out;
  }

  static absl::StatusOr<detail::wire::Payload> Encode(const InferRequest& request) {
    EncodedParameters said;
    if (absl::Status status = said.Gather(request); !status.ok()) return status;
    detail::wire::Count total;
    const auto head = [&](auto& out) { PutHeader(out, request, said); };
    head(total);
    // Everything small goes into one allocation, which large tensors divide.
    std::size_t large = 0;
    for (const InferInput& input : request.inputs()) {
      if (input.placement().has_value()) continue;
      absl::StatusOr<std::size_t> size = RawSize(input);
      if (!size.ok()) return size.status();
      detail::wire::PutHead(total, kRawInputContents, *size);
      ForEachPart(input, [&](std::span<const std::byte> part, bool in_place) {
        if (in_place) {
          large += part.size();
        } else {
          total.Raw(TextOf(part));
        }
      });
    }
    if (total.size() + large > static_cast<std::size_t>((std::numeric_limits<std::int32_t>::max)())) {
      return detail::InvalidArgumentError(
          detail::Cat("the request takes ", total.size() + large, " bytes; protobuf allows at most 2147483647"));
    }
    grpc::Slice small(total.size());
    // The slice is new and nobody else's.
    auto* const begin = const_cast<std::uint8_t*>(small.begin());
    detail::wire::Write out(begin);
    head(out);
    detail::wire::Payload payload;
    std::size_t taken = 0;
    const auto take = [&] {
      const auto end = static_cast<std::size_t>(out.at() - begin);
      // All of it at once, as usual, or a part.
      if (end > taken) payload.Append(end - taken == total.size() ? std::move(small) : small.sub(taken, end));
      taken = end;
    };
    for (const InferInput& input : request.inputs()) {
      if (input.placement().has_value()) continue;
      detail::wire::PutHead(out, kRawInputContents, *RawSize(input));
      ForEachPart(input, [&](std::span<const std::byte> part, bool in_place) {
        if (!in_place) return out.Raw(TextOf(part));
        take();
        if (input.owner() == nullptr) {
          payload.Lend(part);
        } else {
          payload.Append(Owned(part, input.owner()));
        }
      });
    }
    take();
    return payload;
  }

 private:
  // Parameters are rare; theirs are the only messages that are made.
  using ParameterMap = std::map<std::string, open_inference::InferParameter>;
  struct EncodedParameters {
    ParameterMap request;
    absl::InlinedVector<ParameterMap, 1> inputs, outputs;  // empty where none has any

    absl::Status Gather(const InferRequest& from) {
      absl::Status status = OpenInferenceParameters::Fill(from, request);
      for (std::size_t i = 0; i < from.inputs().size(); ++i) {
        const InferInput& input = from.inputs()[i];
        if (input.parameters().empty() && !input.placement().has_value()) continue;
        inputs.resize(from.inputs().size());
        status.Update(OpenInferenceParameters::Fill(input, inputs[i]));
      }
      for (std::size_t i = 0; i < from.outputs().size(); ++i) {
        const RequestedOutput& output = from.outputs()[i];
        outputs.resize(from.outputs().size());
        status.Update(OpenInferenceParameters::Fill(output, outputs[i]));
      }
      return status;
    }
  };

  template <class Out>
  static void PutParameters(Out& out, std::uint32_t number, const ParameterMap& parameters) {
    for (const auto& [key, value] : parameters) {
      const std::string bytes = value.SerializeAsString();
      detail::wire::PutMessage(out, number, [&, &k = key](auto& entry) {
        detail::wire::PutBytes(entry, 1, k);
        detail::wire::PutBytes(entry, 2, bytes);
      });
    }
  }
  template <class Out>
  static void PutHeader(Out& out, const InferRequest& request, const EncodedParameters& said) {
    if (!request.model().empty()) detail::wire::PutBytes(out, kModelName, request.model());
    if (!request.version().empty()) detail::wire::PutBytes(out, kModelVersion, request.version());
    if (!request.id().empty()) detail::wire::PutBytes(out, kId, request.id());
    PutParameters(out, kParameters, said.request);
    for (std::size_t i = 0; i < request.inputs().size(); ++i) {
      const InferInput& input = request.inputs()[i];
      detail::wire::PutMessage(out, kInputs, [&](auto& tensor) {
        detail::wire::PutBytes(tensor, kName, input.name());
        detail::wire::PutBytes(tensor, kDatatype, DataTypeName(input.datatype()));
        if (input.shape().rank() > 0) {
          detail::wire::PutMessage(tensor, kShape, [&](auto& packed) {
            for (const std::int64_t dimension : input.shape()) packed.Varint(static_cast<std::uint64_t>(dimension));
          });
        }
        if (!said.inputs.empty()) PutParameters(tensor, kTensorParameters, said.inputs[i]);
      });
    }
    for (std::size_t i = 0; i < request.outputs().size(); ++i) {
      detail::wire::PutMessage(out, kRequestedOutputs, [&](auto& tensor) {
        detail::wire::PutBytes(tensor, kName, request.outputs()[i].name);
        PutParameters(tensor, kRequestedOutputParameters, said.outputs[i]);
      });
    }
  }

  static std::string_view TextOf(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  static absl::StatusOr<std::size_t> RawSize(const InferInput& input) {
    if (input.datatype() != DataType::kBytes) return input.bytes().size();
    std::size_t size = 0;
    for (const std::string& element : input.strings()) {
      if (element.size() > (std::numeric_limits<std::uint32_t>::max)()) {
        return detail::InvalidArgumentError(detail::Cat("input '", input.name(), "': an element of ", element.size(),
                                                        " bytes; a BYTES element has at most 4294967295"));
      }
      size += 4 + element.size();
    }
    return size;
  }
  // The raw contents, in order; each element of BYTES is behind its length, 4 bytes little-endian.
  template <class Fn>
  static void ForEachPart(const InferInput& input, Fn fn) {
    if (input.datatype() != DataType::kBytes) return fn(input.bytes(), input.bytes().size() >= kSentInPlace);
    for (const std::string& element : input.strings()) {
      const auto length = static_cast<std::uint32_t>(element.size());
      fn(std::as_bytes(std::span(&length, 1)), false);
      fn(std::as_bytes(std::span(element)), element.size() >= kSentInPlace);
    }
  }
  // A slice over memory that is kept by its owner.
  static grpc::Slice Owned(std::span<const std::byte> part, std::shared_ptr<const void> owner) {
    return grpc::Slice(
        const_cast<std::byte*>(part.data()), part.size(),
        [](void* kept) { delete static_cast<std::shared_ptr<const void>*>(kept); },
        new std::shared_ptr<const void>(std::move(owner)));
  }
};

}  // namespace detail

INFERWIRE_DECL absl::StatusOr<open_inference::ModelInferRequest> OpenInferenceCodec::EncodeHeader(
    const InferRequest& request) {
  return detail::OpenInferenceEncoder::EncodeHeader(request);
}
INFERWIRE_DECL absl::StatusOr<detail::wire::Payload> OpenInferenceCodec::Encode(const InferRequest& request) {
  return detail::OpenInferenceEncoder::Encode(request);
}
INFERWIRE_DECL detail::wire::Payload OpenInferenceCodec::WithId(const detail::wire::Payload& request,
                                                                const std::string& id) {
  detail::wire::Payload payload{grpc::Slice(detail::wire::Field(detail::OpenInferenceFields::kId, id))};
  for (const grpc::Slice& slice : request.slices()) payload.Append(slice);
  return payload;
}
INFERWIRE_DECL absl::Status OpenInferenceCodec::RefuseDoubles(const InferRequest& request, std::string_view server) {
  return OpenInferenceParameters::RefuseDoubles(request, server);
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_ENCODE_H_
