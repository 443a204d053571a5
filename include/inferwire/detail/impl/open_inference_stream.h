// SPDX-License-Identifier: Apache-2.0
//
// ModelStreamInfer as Triton speaks it: answers in a wrapper, errors beside them.
#ifndef INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_STREAM_H_
#define INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_STREAM_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/pieces.h"
#include "inferwire/detail/contract/open_inference_codec.h"
#include "inferwire/detail/contract/open_inference_fields.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/impl/open_inference_decode.h"
#include "inferwire/detail/wire/arrived.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/reader.h"
#include "inferwire/infer_result.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

struct OpenInferenceStream : OpenInferenceFields {
  // From Triton's sources: model_repository_manager.cc and model_lifecycle.cc, infer_request.cc, model.cc,
  // sequence_batch_scheduler.cc, dynamic_batch_scheduler.cc, scheduler_utils.cc, server.cc, and the gRPC front's
  // stream_infer_handler.cc and infer_handler.cc.
  struct Sentence {
    std::string_view words;
    absl::StatusCode code;
  };
  static constexpr Sentence kSentences[] = {
      {"Request for unknown model: '*' is not found", absl::StatusCode::kNotFound},
      {"Request for unknown model: '*' has no available versions", absl::StatusCode::kNotFound},
      {"Request for unknown model: '*' version * is not found", absl::StatusCode::kNotFound},
      {"Request for unknown model: '*' version * is not at ready state", absl::StatusCode::kUnavailable},
      {"Exceeds maximum queue size", absl::StatusCode::kUnavailable},
      {"Request timeout expired", absl::StatusCode::kUnavailable},
      {"Server is stopping, *has stopped accepting new inference requests", absl::StatusCode::kUnavailable},
      {"GRPC server is shutting down and has stopped accepting new requests", absl::StatusCode::kUnavailable},
      {"Server not ready", absl::StatusCode::kUnavailable},
      {"Server exiting", absl::StatusCode::kUnavailable},
      {"expected * inputs but got * inputs for model '", absl::StatusCode::kInvalidArgument},
      {"expected number of inputs between * and * but got * inputs for model '", absl::StatusCode::kInvalidArgument},
      {"unexpected shape for input '*' for model '", absl::StatusCode::kInvalidArgument},
      {"unexpected inference input '*' for model '", absl::StatusCode::kInvalidArgument},
      {"unexpected inference output '*' for model '", absl::StatusCode::kInvalidArgument},
      {"input '*' has no shape but model requires batch dimension for '", absl::StatusCode::kInvalidArgument},
      {"input '*' batch size does not match other inputs for '", absl::StatusCode::kInvalidArgument},
      {"input '*' already exists in request", absl::StatusCode::kInvalidArgument},
      {"input byte size mismatch for input '*' for model '", absl::StatusCode::kInvalidArgument},
      {"inference input '*' data-type is '*', but model '*' expects '", absl::StatusCode::kInvalidArgument},
      {"inference request batch-size must be <= * for '", absl::StatusCode::kInvalidArgument},
      {"All input dimensions should be specified for input '*' for model '", absl::StatusCode::kInvalidArgument},
      {"inference request for sequence * to model '*' must specify the START flag", absl::StatusCode::kInvalidArgument},
      {"inference request to model '*' must specify a non-zero or non-empty correlation ID",
       absl::StatusCode::kInvalidArgument},
      {"unable to get model version from specified version string", absl::StatusCode::kInvalidArgument},
      {"contents field must not be specified when using raw_input_contents for '*' for model '",
       absl::StatusCode::kInvalidArgument},
  };

  static absl::Status Unwrap(detail::Pieces message, detail::Pieces* response, std::string* error) {
    bool twice = false;
    detail::wire::PieceReader reader(message);
    for (bool any = false; reader.Next();) {
      if (reader.type() != detail::wire::PieceReader::kBytes) continue;
      if (reader.field() == kErrorMessage) *error = reader.bytes().ToString();
      if (reader.field() != kInferResponse) continue;
      twice = twice || std::exchange(any, true);
      *response = reader.bytes();
    }
    return reader.ok() && !twice ? absl::OkStatus() : OpenInferenceDecoder::Malformed();
  }
};

}  // namespace detail

INFERWIRE_DECL absl::StatusOr<InferResult> OpenInferenceCodec::DecodeStreamed(detail::wire::Reply&& reply) {
  const auto arrived = detail::OpenInferenceDecoder::Take(std::move(reply));
  detail::Pieces response;
  std::string error;
  if (absl::Status status = detail::OpenInferenceStream::Unwrap(arrived->bytes(), &response, &error); !status.ok())
    return status;
  if (!error.empty()) return StreamError(error);
  return detail::OpenInferenceDecoder::DecodeResponse(response, arrived);
}

template <class Label>
absl::StatusOr<Label> OpenInferenceCodec::ReadTag(detail::wire::Reply& reply) {
  using Fields = detail::OpenInferenceFields;
  const detail::wire::ReceivedBytes arrived(reply);
  detail::Pieces response;
  std::string error;
  if (absl::Status status = detail::OpenInferenceStream::Unwrap(arrived.bytes(), &response, &error); !status.ok())
    return status;
  Label label;
  bool marked = false;
  label.last = false;
  label.empty = true;
  detail::wire::PieceReader reader(response);
  while (reader.Next()) {
    if (reader.type() != detail::wire::PieceReader::kBytes) continue;
    switch (reader.field()) {
      case Fields::kId:
        label.id = reader.bytes().ToString();
        break;
      case Fields::kParameters: {
        std::string key;
        std::optional<Parameter> value;
        if (!detail::OpenInferenceDecoder::ReadParameter(reader.bytes(), &key, &value))
          return detail::OpenInferenceDecoder::Malformed();
        if (key != "triton_final_response" || !value.has_value()) break;
        if (const bool* const last = std::get_if<bool>(&*value)) {
          marked = true;
          label.last = *last;
        }
        break;
      }
      case Fields::kOutputs:
      case Fields::kRawOutputContents:
        label.empty = false;
        break;
      default:
        break;
    }
  }
  if (!reader.ok()) return detail::OpenInferenceDecoder::Malformed();
  if (!error.empty()) {
    label.error = StreamError(error);
    label.last = true;
  }
  if constexpr (requires { label.marked; }) label.marked = marked;
  return label;
}

INFERWIRE_DECL absl::Status OpenInferenceCodec::StreamError(const std::string& text) {
  const std::string_view begin = std::string_view(text).substr(0, 4096);
  for (const detail::OpenInferenceStream::Sentence& sentence : detail::OpenInferenceStream::kSentences) {
    if (Says(begin, sentence.words)) return detail::SaidError(sentence.code, text);
  }
  return detail::SaidError(absl::StatusCode::kInternal, text);
}

INFERWIRE_DECL bool OpenInferenceCodec::Says(std::string_view text, std::string_view sentence) {
  constexpr std::string_view kRequestId = "[request id: ";
  if (text.starts_with(kRequestId)) {
    const std::size_t end = text.find("] ");
    if (end != std::string_view::npos) text.remove_prefix(end + 2);
  }
  while (true) {
    const std::size_t star = sentence.find('*');
    const std::string_view words = sentence.substr(0, star);
    if (!text.starts_with(words)) return false;
    if (star == std::string_view::npos) return true;
    text.remove_prefix(words.size());
    sentence.remove_prefix(star + 1);
    const std::size_t at = text.find(sentence.substr(0, sentence.find('*')));
    if (at == std::string_view::npos || text.substr(0, at).find('\'') != std::string_view::npos) return false;
    text.remove_prefix(at);
  }
}

#if defined(INFERWIRE_SEPARATE_COMPILATION)
template absl::StatusOr<detail::engine::ReplyTag> OpenInferenceCodec::ReadTag<detail::engine::ReplyTag>(
    detail::wire::Reply& reply);
#endif

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_STREAM_H_
