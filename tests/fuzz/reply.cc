// SPDX-License-Identifier: Apache-2.0
//
// Answers of the Open Inference Protocol, in pieces: what is read must be what generated code reads, what that writes
// must be read, and no more memory be taken than arrived allows.
#include "fuzz/reply.h"

#include "fuzz/pieces.h"
#include "inferwire/detail/contract/open_inference_codec.h"

using inferwire::InferResult;
using inferwire_fuzz::Cut;
using inferwire_fuzz::Require;

namespace {
absl::StatusOr<InferResult> Decode(std::string_view bytes, Cut cut) {
  // The pieces themselves are the transport's: a slice is 32 bytes, a view of it 16.
  const std::size_t pieces = inferwire_fuzz::CutUp(bytes, cut).size() * 2 * (32 + 16);
  inferwire::detail::wire::Reply reply = inferwire_fuzz::ToReply(bytes, cut);
  return inferwire_fuzz::Within(inferwire_fuzz::MostForReply(bytes) + pieces,
                                [&] { return inferwire::OpenInferenceCodec::Decode(std::move(reply)); });
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  inferwire::fuzz::Response theirs;
  const bool parsed = theirs.ParseFromArray(data, static_cast<int>(size));
  absl::Status first;
  for (const Cut cut : inferwire_fuzz::kCuts) {
    const absl::StatusOr<InferResult> result = Decode(bytes, cut);
    if (cut == Cut::kNot) first = result.status();
    Require(result.status() == first, "pieces make no difference");
    Require(result.ok() || result.status().code() == absl::StatusCode::kInternal, "a refusal is INTERNAL");
    if (!result.ok()) continue;
    Require(parsed, "what is read here, generated code reads");
    inferwire_fuzz::CheckResult(*result, theirs);
    // A result outlives the one it was copied from.
    const InferResult copy = *result;
    inferwire_fuzz::CheckResult(copy, theirs);
  }
  if (!parsed) return 0;
  theirs.DiscardUnknownFields();
  const std::string anew = theirs.SerializeAsString();
  const absl::StatusOr<InferResult> result = Decode(anew, Cut::kAnywhere);
  if (result.ok()) inferwire_fuzz::CheckResult(*result, theirs);
  Require(result.ok() || result.status().message() != "the server's answer is no ModelInferResponse",
          "what generated code writes is read here");
  if (first.ok()) Require(result.ok(), "what is legal stays so when it is written anew");
  return 0;
}
