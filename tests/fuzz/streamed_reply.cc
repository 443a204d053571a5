// SPDX-License-Identifier: Apache-2.0
//
// Answers on a stream, and what they say to the stream.
#include "fuzz/pieces.h"
#include "fuzz/reply.h"
#include "inferwire/detail/contract/open_inference_codec.h"

using inferwire::InferResult;
using inferwire::OpenInferenceCodec;
using inferwire_fuzz::Cut;
using inferwire_fuzz::Require;

namespace {
struct Label {
  std::string id;
  bool last = false;
  bool empty = false;
  absl::Status error;
};

// The last value of any kind that the parameter has.
bool SaysLast(const inferwire::fuzz::Response& response) {
  bool last = false;
  for (const auto& entry : response.parameters()) {
    if (entry.key() == "triton_final_response" && entry.value().has_bool_param()) last = entry.value().bool_param();
  }
  return last;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  inferwire::fuzz::StreamResponse theirs;
  const bool parsed = theirs.ParseFromArray(data, static_cast<int>(size));
  const inferwire::fuzz::Response& response = theirs.infer_response();
  absl::Status first, first_label;
  for (const Cut cut : inferwire_fuzz::kCuts) {
    const std::size_t pieces = inferwire_fuzz::CutUp(bytes, cut).size() * 2 * (32 + 16);
    inferwire::detail::wire::Reply reply = inferwire_fuzz::ToReply(bytes, cut);
    const std::size_t most = inferwire_fuzz::Twice(size, 256, std::size_t{4} << 20, 8) + pieces;
    const absl::StatusOr<Label> label =
        inferwire_fuzz::Within(most, [&] { return OpenInferenceCodec::ReadTag<Label>(reply); });
    const absl::StatusOr<InferResult> result =
        inferwire_fuzz::Within(most, [&] { return OpenInferenceCodec::DecodeStreamed(std::move(reply)); });
    if (cut == Cut::kNot) first = result.status(), first_label = label.status();
    Require(result.status() == first && label.status() == first_label, "pieces make no difference");
    if (label.ok() && parsed) {  // a label does not look into the outputs
      const bool failed = !theirs.error_message().empty();
      Require(label->id == response.id(), "the id");
      Require(label->empty == (response.outputs_size() == 0 && response.raw_output_contents_size() == 0),
              "the content");
      Require(label->error.ok() != failed && label->last == (failed || SaysLast(response)), "the end");
      Require(!failed || result.status() == label->error, "an error is told alike in both ways");
    }
    if (!result.ok()) continue;
    Require(label.ok() && parsed, "what has a content has a label");
    inferwire_fuzz::CheckResult(*result, response);
  }
  return 0;
}
