// SPDX-License-Identifier: Apache-2.0
//
// Text generation over the Open Inference Protocol, one contract a dialect: Triton's vLLM and TensorRT-LLM backends,
// NVIDIA Dynamo.
#ifndef INFERWIRE_CONTRACT_OPEN_INFERENCE_TEXT_H_
#define INFERWIRE_CONTRACT_OPEN_INFERENCE_TEXT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "inferwire/contract/contract.h"
#include "inferwire/contract/generation_chunk.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/contract/open_inference.grpc.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/base/utf8.h"
#include "inferwire/detail/contract/json.h"
#include "inferwire/detail/contract/open_inference_codec.h"
#include "inferwire/detail/contract/openai_json.h"
#include "inferwire/generation.h"  // IWYU pragma: export
#include "inferwire/generation_types.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// What all dialects have: one request on a ModelStreamInfer of its own, and answers that may be raw or typed. Requests
/// are typed, which all of these servers read.
struct OpenInferenceTextDialect {
  /// A stream of requests, of which one is sent.
  struct GenerateStream {
    using Request = open_inference::ModelInferRequest;
    using Response = open_inference::ModelStreamInferResponse;
    static constexpr RpcKind kKind = RpcKind::kServerStream;
    static const std::string& path() {
      return Rpc<&open_inference::GRPCInferenceService::Stub::ModelStreamInfer,
                 "inference.GRPCInferenceService">::path();
    }
  };
  using Request = GenerateStream::Request;
  using Response = GenerateStream::Response;

  static absl::Status Inspect(const Response& response) {
    return response.error_message().empty() ? absl::OkStatus()
                                            : OpenInferenceCodec::StreamError(std::string(response.error_message()));
  }

  static absl::Status Decode(Response&& response, GenerationChunk& out) {
    if (absl::Status status = Inspect(response); !status.ok()) return status;
    open_inference::ModelInferResponse& from = *response.mutable_infer_response();
    if (from.raw_output_contents_size() > 0 && from.raw_output_contents_size() != from.outputs_size()) {
      return Contradiction(Cat(from.outputs_size(), " outputs, and raw contents of ", from.raw_output_contents_size()));
    }
    std::optional<std::string> text, reason;
    for (int i = 0; i < from.outputs_size(); ++i) {
      const std::string_view name = from.outputs(i).name();
      if (name != "text_output" && name != "finish_reason") continue;
      std::optional<std::string>& value = name == "text_output" ? text : reason;
      if (value.has_value()) return Contradiction(Cat("the output ", name, " is there twice"));
      if (absl::Status status = ReadText(from, i, value.emplace()); !status.ok()) return status;
    }
    const auto mark = from.parameters().find("triton_final_response");
    const bool marked = mark != from.parameters().end() && mark->second.bool_param();
    if (!text.has_value() && !marked && reason.value_or("").empty()) return absl::OkStatus();
    GenerationPiece& piece = out.pieces.emplace_back();
    piece.text = std::move(text).value_or("");
    piece.finish_word = std::move(reason).value_or("");
    if (piece.finish_word == "None") piece.finish_word.clear();  // Python's, of vLLM's backend
    if (marked || !piece.finish_word.empty()) piece.finish_reason = OpenAiJson::FinishOf(piece.finish_word);
    return absl::OkStatus();
  }

 protected:
  using Tensor = Request::InferInputTensor;

  /// The request without its parameters. INVALID_ARGUMENT where there is no model.
  static absl::StatusOr<Request> Begin(const GenerationRequest& request, std::string_view contract,
                                       std::initializer_list<std::int64_t> shape) {
    const auto* const text = std::get_if<std::string>(&request.prompt);
    if (text == nullptr) {
      return InvalidArgumentError(Cat("the contract ", contract, " carries no token ids; expected text"));
    }
    if (request.model.empty()) {
      return InvalidArgumentError(Cat("model is empty; the contract ", contract, " needs the name of one"));
    }
    Request out;
    out.set_model_name(request.model);
    out.set_id(request.request_id);
    Add(out, "text_input", "BYTES", shape).add_bytes_contents(*text);
    return out;
  }
  static open_inference::InferTensorContents& Add(Request& out, std::string_view name, std::string_view datatype,
                                                  std::initializer_list<std::int64_t> shape) {
    Tensor& tensor = *out.add_inputs();
    tensor.set_name(std::string(name));
    tensor.set_datatype(std::string(datatype));
    for (const std::int64_t size : shape) tensor.add_shape(size);
    return *tensor.mutable_contents();
  }
  /// Triton marks the last answer then, also where it has nothing else to say.
  static void WantEnd(Request& out) {
    (*out.mutable_parameters())["triton_enable_empty_final_response"].set_bool_param(true);
  }

 private:
  // Of an output that holds the text of one sequence, or nothing.
  static absl::Status ReadText(open_inference::ModelInferResponse& from, int at, std::string& out) {
    auto& output = *from.mutable_outputs(at);
    const auto wrong = [&](const auto&... what) {
      return Contradiction(Cat("the output ", std::string_view(output.name()), " ", what...));
    };
    if (output.datatype() != "BYTES") return wrong("is of type ", std::string_view(output.datatype()));
    const bool raw = from.raw_output_contents_size() > 0;
    if (raw && output.has_contents()) return wrong("has raw and typed contents");
    std::size_t elements = 1;
    for (const std::int64_t size : output.shape()) {
      if (size < 0 || size > 1) return wrong("has a dimension of ", size, ", and one sequence was asked for");
      elements *= static_cast<std::size_t>(size);
    }
    if (!raw) {
      auto& values = *output.mutable_contents()->mutable_bytes_contents();
      if (static_cast<std::size_t>(values.size()) != elements) {
        return wrong("has ", values.size(), " elements; its shape says ", elements);
      }
      if (elements == 1) out = std::move(values[0]);
      return absl::OkStatus();
    }
    std::string& bytes = *from.mutable_raw_output_contents(at);
    if (elements == 0) {
      return bytes.empty() ? absl::OkStatus() : wrong("has ", bytes.size(), " bytes; its shape says none");
    }
    if (bytes.size() < 4) return wrong("has ", bytes.size(), " bytes; expected a length of 4");
    std::uint32_t length = 0;
    for (std::size_t i = 4; i-- > 0;) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    if (length != bytes.size() - 4) return wrong("has ", bytes.size() - 4, " bytes; its length says ", length);
    bytes.erase(0, 4);
    out = std::move(bytes);
    return absl::OkStatus();
  }
};

}  // namespace detail

/// As Triton's vLLM backend speaks it: the sampling parameters are a JSON text. Triton tells that a generation has
/// ended, and not how: of each the reason is kStop, and no tokens are counted.
struct OpenInferenceText : detail::OpenInferenceTextDialect {
  static constexpr std::string_view kName = "open_inference_text";
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries = Fields::kText | Fields::kModel | Fields::kMaxTokens | Fields::kSampling |
                                            Fields::kSeed | Fields::kStop | Fields::kStopTokenIds | Fields::kIgnoreEos |
                                            Fields::kAdapter | Fields::kRequestId;

  static absl::StatusOr<Request> Encode(const GenerationRequest& request, bool stream) {
    absl::StatusOr<Request> out = Begin(request, kName, {1});
    if (!out.ok()) return out;
    const absl::StatusOr<std::string> sampling = Sampling(request);
    if (!sampling.ok()) return sampling.status();
    Add(*out, "stream", "BOOL", {1}).add_bool_contents(stream);
    Add(*out, "sampling_parameters", "BYTES", {1}).add_bytes_contents(*sampling);
    Add(*out, "exclude_input_in_output", "BOOL", {1}).add_bool_contents(true);
    WantEnd(*out);
    return out;
  }

 private:
  static constexpr std::int64_t kMostWhole = std::int64_t{1} << 53;  // up to which a double holds all

  static absl::StatusOr<std::string> Sampling(const GenerationRequest& request) {
    detail::JsonObject out;
    auto& fields = *out.mutable_fields();
    const auto number = [&](const char* key, const auto& value) {
      if (value.has_value()) fields[key].set_number_value(static_cast<double>(*value));
    };
    number("max_tokens", request.max_tokens);
    number("temperature", request.temperature);
    number("top_p", request.top_p);
    number("min_p", request.min_p);
    number("presence_penalty", request.presence_penalty);
    number("frequency_penalty", request.frequency_penalty);
    number("repetition_penalty", request.repetition_penalty);
    if (request.top_k.has_value()) fields["top_k"].set_number_value(*request.top_k > 0 ? *request.top_k : -1);
    if (request.seed.has_value()) {
      if (*request.seed < -kMostWhole || *request.seed > kMostWhole) {
        return detail::InvalidArgumentError(
            detail::Cat("seed is ", *request.seed, "; the contract ", kName, " carries 53 bits of it"));
      }
      number("seed", request.seed);
    }
    for (const std::string& stop : request.stop) {
      if (!detail::IsUtf8(stop)) return detail::InvalidArgumentError("stop has a string that is not UTF-8");
      fields["stop"].mutable_list_value()->add_values()->set_string_value(stop);
    }
    for (const std::int32_t id : request.stop_token_ids) {
      fields["stop_token_ids"].mutable_list_value()->add_values()->set_number_value(id);
    }
    if (request.ignore_eos) fields["ignore_eos"].set_bool_value(true);
    if (!detail::IsUtf8(request.adapter)) return detail::InvalidArgumentError("adapter is not UTF-8");
    if (!request.adapter.empty()) fields["lora_name"].set_string_value(request.adapter);
    return detail::WriteJson(out);
  }
};
static_assert(GenerationContract<OpenInferenceText>);
template <>
inline constexpr bool kBuiltIn<OpenInferenceText> = true;

/// As the ensemble and the BLS model of Triton's TensorRT-LLM backend speak it, which must be decoupled: the sampling
/// parameters are tensors, and max_tokens must be given. How it ended is not told, as by vLLM's backend.
struct OpenInferenceTextTensorRtLlm : detail::OpenInferenceTextDialect {
  static constexpr std::string_view kName = "open_inference_text_tensorrt_llm";
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries = Fields::kText | Fields::kModel | Fields::kMaxTokens | Fields::kTemperature |
                                            Fields::kTopP | Fields::kTopK | Fields::kPresencePenalty |
                                            Fields::kFrequencyPenalty | Fields::kRepetitionPenalty | Fields::kSeed |
                                            Fields::kStop | Fields::kRequestId;

  static absl::StatusOr<Request> Encode(const GenerationRequest& request, bool stream) {
    absl::StatusOr<Request> out = Begin(request, kName, {1, 1});
    if (!out.ok()) return out;
    if (!request.max_tokens.has_value()) {
      return detail::InvalidArgumentError(detail::Cat("max_tokens is unset; the contract ", kName, " needs it"));
    }
    if (request.seed.value_or(0) < 0) {
      return detail::InvalidArgumentError(
          detail::Cat("seed is ", *request.seed, "; the contract ", kName, " carries none below 0"));
    }
    Add(*out, "max_tokens", "INT32", {1, 1}).add_int_contents(*request.max_tokens);
    Add(*out, "stream", "BOOL", {1, 1}).add_bool_contents(stream);
    const std::pair<const char*, std::optional<float>> numbers[] = {{"temperature", request.temperature},
                                                                    {"top_p", request.top_p},
                                                                    {"presence_penalty", request.presence_penalty},
                                                                    {"frequency_penalty", request.frequency_penalty},
                                                                    {"repetition_penalty", request.repetition_penalty}};
    for (const auto& [name, value] : numbers) {
      if (value.has_value()) Add(*out, name, "FP32", {1, 1}).add_fp32_contents(*value);
    }
    if (request.top_k.has_value()) {
      Add(*out, "top_k", "INT32", {1, 1}).add_int_contents((std::max)(*request.top_k, 0));  // below 0: all
    }
    if (request.seed.has_value()) {
      Add(*out, "seed", "UINT64", {1, 1}).add_uint64_contents(static_cast<std::uint64_t>(*request.seed));
    }
    if (!request.stop.empty()) {
      auto& words = Add(*out, "stop_words", "BYTES", {1, static_cast<std::int64_t>(request.stop.size())});
      for (const std::string& stop : request.stop) words.add_bytes_contents(stop);
    }
    WantEnd(*out);
    return out;
  }
};
static_assert(GenerationContract<OpenInferenceTextTensorRtLlm>);
template <>
inline constexpr bool kBuiltIn<OpenInferenceTextTensorRtLlm> = true;

/// As the KServe frontend of NVIDIA Dynamo speaks it, which reads nothing but the text and the model's name.
struct OpenInferenceTextDynamo : detail::OpenInferenceTextDialect {
  static constexpr std::string_view kName = "open_inference_text_dynamo";
  using Fields = GenerationFields;
  static constexpr std::uint32_t kCarries = Fields::kText | Fields::kModel | Fields::kRequestId;

  static absl::StatusOr<Request> Encode(const GenerationRequest& request, bool stream) {
    absl::StatusOr<Request> out = Begin(request, kName, {1});
    if (out.ok()) Add(*out, "streaming", "BOOL", {1}).add_bool_contents(stream);
    return out;
  }
};
static_assert(GenerationContract<OpenInferenceTextDynamo>);
template <>
inline constexpr bool kBuiltIn<OpenInferenceTextDynamo> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_OPEN_INFERENCE_TEXT_H_
