// SPDX-License-Identifier: Apache-2.0
//
// Inference in the Open Inference Protocol's messages, the same in every dialect: requests written around the caller's
// tensors, answers read where they lie.
#ifndef INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_CODEC_H_
#define INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_CODEC_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "inferwire/contract/open_inference.pb.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"

namespace inferwire {
inline namespace v0 {

/// Requests carry raw contents; answers may be raw or typed. The wire format is written and read here, without
/// generated code (parameters aside), so that tensors are neither copied into messages nor out of them.
class OpenInferenceCodec {
 public:
  /// Tensors, or elements of BYTES, of at least so many bytes are sent from where they lie. Below it, copying them is
  /// as fast.
  static constexpr std::size_t kSentInPlace = std::size_t{32} << 10;

  /// All of a request but the elements of its inputs, as a message. INVALID_ARGUMENT for what the protocol cannot say.
  static absl::StatusOr<open_inference::ModelInferRequest> EncodeHeader(const InferRequest& request);

  /// The whole request, in pieces: what is written here, and large tensors in between, in memory that the request owns
  /// or the caller lent. An input in shared memory has no raw contents. INVALID_ARGUMENT for what the protocol cannot
  /// say, and beyond 2 GiB, which no server can parse.
  static absl::StatusOr<detail::wire::Payload> Encode(const InferRequest& request);

  /// INTERNAL, naming the output and what is wrong with it, where the server contradicts itself. The result refers to
  /// what was received. An output without elements is a PlacedOutput; whether one was asked for is the caller's to
  /// check.
  static absl::StatusOr<InferResult> Decode(detail::wire::Reply&& reply);

  // ModelStreamInfer as Triton speaks it: answers in a wrapper, errors beside them.

  /// An answer on a stream. An error of the server's that is told in-band has a code by StreamError.
  static absl::StatusOr<InferResult> DecodeStreamed(detail::wire::Reply&& reply);

  /// A request that was encoded without an id, under this one. The bytes are shared.
  static detail::wire::Payload WithId(const detail::wire::Payload& request, const std::string& id);

  /// What an answer on a stream says to the stream. `Label` has the fields id, last, empty and error, and
  /// may have marked.
  template <class Label>
  static absl::StatusOr<Label> ReadTag(detail::wire::Reply& reply);

  /// Servers tell in-band errors as text alone. Triton's own sentences have the code that they have by a call; all else
  /// is what a model says, which is INTERNAL there.
  static absl::Status StreamError(const std::string& text);

  /// Whether a text begins with a sentence of Triton's, behind the id that it may put in front: "[request id: 7] ". In
  /// the sentence '*' stands for anything but a quotation mark.
  static bool Says(std::string_view text, std::string_view sentence);

  /// INVALID_ARGUMENT for a parameter of type double, which `server` does not know.
  static absl::Status RefuseDoubles(const InferRequest& request, std::string_view server);
};

#if defined(INFERWIRE_SEPARATE_COMPILATION)
extern template absl::StatusOr<detail::engine::ReplyTag> OpenInferenceCodec::ReadTag<detail::engine::ReplyTag>(
    detail::wire::Reply& reply);
#endif

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/open_inference_decode.h"  // IWYU pragma: keep
#include "inferwire/detail/impl/open_inference_encode.h"  // IWYU pragma: keep
#include "inferwire/detail/impl/open_inference_stream.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_CODEC_H_
