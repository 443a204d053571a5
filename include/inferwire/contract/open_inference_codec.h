// SPDX-License-Identifier: Apache-2.0
//
// Inference in the Open Inference Protocol's messages, the same in every dialect: requests written around the caller's
// tensors, answers read where they lie.
#ifndef INFERWIRE_CONTRACT_OPEN_INFERENCE_CODEC_H_
#define INFERWIRE_CONTRACT_OPEN_INFERENCE_CODEC_H_

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
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.pb.h"
#include "inferwire/contract/open_inference_parameters.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/pieces.h"
#include "inferwire/detail/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/tensor.h"
#include "inferwire/wire/arrived.h"
#include "inferwire/wire/message.h"
#include "inferwire/wire/reader.h"
#include "inferwire/wire/writer.h"

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

  /// The whole request, in pieces: what is written here, and large tensors in between, in memory that the request owns
  /// or the caller lent. An input in shared memory has no raw contents. INVALID_ARGUMENT for what the protocol cannot
  /// say, and beyond 2 GiB, which no server can parse.
  static absl::StatusOr<wire::Payload> Encode(const InferRequest& request) {
    Said said;
    if (absl::Status status = said.Gather(request); !status.ok()) return status;
    wire::Count total;
    const auto head = [&](auto& out) { PutHeader(out, request, said); };
    head(total);
    // Everything small goes into one allocation, which large tensors divide.
    std::size_t large = 0;
    for (const InferInput& input : request.inputs()) {
      if (input.placement().has_value()) continue;
      absl::StatusOr<std::size_t> size = RawSize(input);
      if (!size.ok()) return size.status();
      wire::PutHead(total, kRawInputContents, *size);
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
    wire::Write out(begin);
    head(out);
    wire::Payload payload;
    std::size_t taken = 0;
    const auto take = [&] {
      const auto end = static_cast<std::size_t>(out.at() - begin);
      // All of it at once, as usual, or a part.
      if (end > taken) payload.Append(end - taken == total.size() ? std::move(small) : small.sub(taken, end));
      taken = end;
    };
    for (const InferInput& input : request.inputs()) {
      if (input.placement().has_value()) continue;
      wire::PutHead(out, kRawInputContents, *RawSize(input));
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

  /// INTERNAL, naming the output and what is wrong with it, where the server contradicts itself. The result refers to
  /// what was received. An output without elements is a PlacedOutput; whether one was asked for is the caller's to
  /// check.
  static absl::StatusOr<InferResult> Decode(wire::Reply&& reply) {
    if (!reply.received()) return detail::InternalError("the server ended the call with OK but sent no message");
    const auto arrived = Take(std::move(reply));
    return DecodeResponse(arrived->bytes(), arrived);
  }

  // ModelStreamInfer as Triton speaks it: answers in a wrapper, errors beside them.

  /// An answer on a stream. An error of the server's that is told in-band has a code by StreamError.
  static absl::StatusOr<InferResult> DecodeStreamed(wire::Reply&& reply) {
    const auto arrived = Take(std::move(reply));
    detail::Pieces response;
    std::string error;
    if (absl::Status status = Unwrap(arrived->bytes(), &response, &error); !status.ok()) return status;
    if (!error.empty()) return StreamError(error);
    return DecodeResponse(response, arrived);
  }

  /// A request that was encoded without an id, under this one. The bytes are shared.
  static wire::Payload WithId(const wire::Payload& request, const std::string& id) {
    wire::Payload payload{grpc::Slice(wire::Field(kId, id))};
    for (const grpc::Slice& slice : request.slices()) payload.Append(slice);
    return payload;
  }

  /// What an answer on a stream says to the stream. `Label` has the fields id, last, empty and error, and
  /// may have marked.
  template <class Label>
  static absl::StatusOr<Label> ReadLabel(wire::Reply& reply) {
    const wire::Arrived arrived(reply);
    detail::Pieces response;
    std::string error;
    if (absl::Status status = Unwrap(arrived.bytes(), &response, &error); !status.ok()) return status;
    Label label;
    bool marked = false;
    label.last = false;
    label.empty = true;
    wire::PieceReader reader(response);
    while (reader.Next()) {
      if (reader.type() != wire::PieceReader::kBytes) continue;
      switch (reader.field()) {
        case kId:
          label.id = reader.bytes().ToString();
          break;
        case kParameters: {
          std::string key;
          std::optional<Parameter> value;
          if (!ReadParameter(reader.bytes(), &key, &value)) return Malformed();
          if (key != "triton_final_response" || !value.has_value()) break;
          if (const bool* const last = std::get_if<bool>(&*value)) {
            marked = true;
            label.last = *last;
          }
          break;
        }
        case kOutputs:
        case kRawOutputContents:
          label.empty = false;
          break;
        default:
          break;
      }
    }
    if (!reader.ok()) return Malformed();
    if (!error.empty()) {
      label.error = StreamError(error);
      label.last = true;
    }
    if constexpr (requires { label.marked; }) label.marked = marked;
    return label;
  }

  /// Servers tell in-band errors as text alone. Triton's own sentences have the code that they have by a call; all else
  /// is what a model says, which is INTERNAL there.
  static absl::Status StreamError(const std::string& text) {
    const std::string_view begin = std::string_view(text).substr(0, 4096);
    for (const Sentence& sentence : kSentences) {
      if (Says(begin, sentence.words)) return detail::SaidError(sentence.code, text);
    }
    return detail::SaidError(absl::StatusCode::kInternal, text);
  }

  /// Whether a text begins with a sentence of Triton's, behind the id that it may put in front: "[request id: 7] ". In
  /// the sentence '*' stands for anything but a quotation mark.
  static bool Says(std::string_view text, std::string_view sentence) {
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

 private:
  // Of ModelInferRequest and ModelInferResponse, as far as they agree.
  enum : std::uint32_t {
    kModelName = 1,
    kModelVersion = 2,
    kId = 3,
    kParameters = 4,
    kInputs = 5,
    kOutputs = 5,
    kRequestedOutputs = 6,
    kRawOutputContents = 6,
    kRawInputContents = 7,
  };
  // Of tensors.
  enum : std::uint32_t { kName = 1, kDatatype = 2, kShape = 3, kTensorParameters = 4, kContents = 5 };
  enum : std::uint32_t { kRequestedOutputParameters = 2 };
  // More than any model has, and few enough that what little stands for them cannot grow large here.
  static constexpr std::size_t kMostTensors = 4096, kMostParameters = 4096, kMostRank = 64;
  // Bytes of a tensor's name, which is compared with all others, and told in errors.
  static constexpr std::size_t kMostName = 1024;
  // Of ModelStreamInferResponse.
  enum : std::uint32_t { kErrorMessage = 1, kInferResponse = 2 };

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

  static absl::Status Broken(std::string_view what) {
    return detail::InternalError(detail::Cat("the server's answer contradicts itself: ", what));
  }
  static absl::Status Malformed() { return detail::InternalError("the server's answer is no ModelInferResponse"); }

  // ---- requests

  // Parameters are rare; theirs are the only messages that are made.
  using ParameterMap = std::map<std::string, open_inference::InferParameter>;
  struct Said {
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
      wire::PutMessage(out, number, [&, &k = key](auto& entry) {
        wire::PutBytes(entry, 1, k);
        wire::PutBytes(entry, 2, bytes);
      });
    }
  }
  template <class Out>
  static void PutHeader(Out& out, const InferRequest& request, const Said& said) {
    if (!request.model().empty()) wire::PutBytes(out, kModelName, request.model());
    if (!request.version().empty()) wire::PutBytes(out, kModelVersion, request.version());
    if (!request.id().empty()) wire::PutBytes(out, kId, request.id());
    PutParameters(out, kParameters, said.request);
    for (std::size_t i = 0; i < request.inputs().size(); ++i) {
      const InferInput& input = request.inputs()[i];
      wire::PutMessage(out, kInputs, [&](auto& tensor) {
        wire::PutBytes(tensor, kName, input.name());
        wire::PutBytes(tensor, kDatatype, DataTypeName(input.datatype()));
        if (input.shape().rank() > 0) {
          wire::PutMessage(tensor, kShape, [&](auto& packed) {
            for (const std::int64_t dimension : input.shape()) packed.Varint(static_cast<std::uint64_t>(dimension));
          });
        }
        if (!said.inputs.empty()) PutParameters(tensor, kTensorParameters, said.inputs[i]);
      });
    }
    for (std::size_t i = 0; i < request.outputs().size(); ++i) {
      wire::PutMessage(out, kRequestedOutputs, [&](auto& tensor) {
        wire::PutBytes(tensor, kName, request.outputs()[i].name);
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

  // ---- answers

  // Nobody else holds the bytes then, so that what was read can go.
  static std::shared_ptr<wire::Arrived> Take(wire::Reply&& reply) {
    wire::Reply gone = std::move(reply);
    return std::make_shared<wire::Arrived>(gone);
  }
  static absl::Status Unwrap(detail::Pieces message, detail::Pieces* response, std::string* error) {
    bool twice = false;
    wire::PieceReader reader(message);
    for (bool any = false; reader.Next();) {
      if (reader.type() != wire::PieceReader::kBytes) continue;
      if (reader.field() == kErrorMessage) *error = reader.bytes().ToString();
      if (reader.field() != kInferResponse) continue;
      twice = twice || std::exchange(any, true);
      *response = reader.bytes();
    }
    return reader.ok() && !twice ? absl::OkStatus() : Malformed();
  }

  static absl::StatusOr<InferResult> DecodeResponse(detail::Pieces message,
                                                    const std::shared_ptr<wire::Arrived>& arrived) {
    InferResult result;
    absl::InlinedVector<detail::Pieces, 2> outputs, raw;
    std::size_t parameters = 0;
    wire::PieceReader reader(message);
    while (reader.Next()) {
      if (reader.type() != wire::PieceReader::kBytes) continue;
      switch (reader.field()) {
        case kModelName:
          result.set_model(reader.bytes().ToString());
          break;
        case kModelVersion:
          result.set_version(reader.bytes().ToString());
          break;
        case kId:
          result.set_id(reader.bytes().ToString());
          break;
        case kParameters: {
          std::string key;
          std::optional<Parameter> value;
          if (!ReadParameter(reader.bytes(), &key, &value)) return Malformed();
          if (value.has_value()) result.set_parameter(std::move(key), *std::move(value));
          ++parameters;
          break;
        }
        case kOutputs:
          outputs.push_back(reader.bytes());
          break;
        case kRawOutputContents:
          raw.push_back(reader.bytes());
          break;
        default:
          break;
      }
      if (outputs.size() > kMostTensors || raw.size() > kMostTensors || parameters > kMostParameters) {
        return Broken(detail::Cat("more than ", kMostTensors, " tensors or ", kMostParameters, " parameters"));
      }
    }
    if (!reader.ok()) return Malformed();
    if (!raw.empty() && raw.size() != outputs.size()) {
      return Broken(detail::Cat(outputs.size(), " outputs but ", raw.size(), " raw contents"));
    }
    result.Reserve(outputs.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      absl::Status status = DecodeOutput(outputs[i], raw.empty() ? nullptr : &raw[i], arrived, result);
      if (!status.ok()) return status;
    }
    if (!result.status().ok()) return Broken(detail::ToStd(result.status().message()));
    return result;
  }

  // One entry of a map of parameters. One without a value leaves `out` empty; an unsigned value beyond int64 becomes a
  // double: nearly right rather than negative.
  static bool ReadParameter(detail::Pieces entry, std::string* key, std::optional<Parameter>* out) {
    wire::PieceReader reader(entry);
    detail::Pieces value;
    for (bool any = false; reader.Next();) {
      if (reader.type() != wire::PieceReader::kBytes) continue;
      if (reader.field() == 1) *key = reader.bytes().ToString();
      if (reader.field() != 2) continue;
      if (std::exchange(any, true)) return false;  // protobuf merges messages that come twice; nobody sends them
      value = reader.bytes();
    }
    wire::PieceReader choice(value);
    while (choice.Next()) {
      const bool number = choice.type() == wire::PieceReader::kVarint;
      if (choice.field() == 1 && number) {
        *out = choice.number() != 0;
      } else if (choice.field() == 2 && number) {
        *out = static_cast<std::int64_t>(choice.number());
      } else if (choice.field() == 3 && choice.type() == wire::PieceReader::kBytes) {
        *out = choice.bytes().ToString();
      } else if (choice.field() == 4 && choice.type() == wire::PieceReader::kFixed64) {
        *out = std::bit_cast<double>(choice.number());
      } else if (choice.field() == 5 && number) {
        if (std::in_range<std::int64_t>(choice.number())) {
          *out = static_cast<std::int64_t>(choice.number());
        } else {
          *out = static_cast<double>(choice.number());
        }
      }
    }
    return reader.ok() && choice.ok();
  }

  static absl::Status DecodeOutput(detail::Pieces message, const detail::Pieces* raw,
                                   const std::shared_ptr<wire::Arrived>& arrived, InferResult& result) {
    std::string name;
    std::string datatype_name;
    std::array<std::int64_t, kMostRank> dimensions;
    std::size_t rank = 0;
    const auto add = [&](std::uint64_t dimension) {
      if (rank < kMostRank) dimensions[rank] = static_cast<std::int64_t>(dimension);
      return ++rank <= kMostRank;
    };
    std::optional<detail::Pieces> contents;
    bool placed = false;
    wire::PieceReader reader(message);
    while (reader.Next()) {
      if (reader.field() == kShape) {
        bool fits = true;
        if (reader.type() == wire::PieceReader::kVarint) fits = add(reader.number());
        wire::PieceReader packed(reader.bytes());
        for (std::uint64_t dimension = 0; fits && packed.Packed(&dimension);) fits = add(dimension);
        if (!packed.ok()) return Malformed();
        if (!fits) return Broken(detail::Cat("output '", name, "' has more than ", kMostRank, " dimensions"));
      }
      if (reader.type() != wire::PieceReader::kBytes) continue;
      switch (reader.field()) {
        case kName:
        case kDatatype:
          if (reader.bytes().size() > kMostName) {
            return Broken(detail::Cat("an output has a name or datatype of ", reader.bytes().size(),
                                      " bytes; expected at most ", kMostName));
          }
          (reader.field() == kName ? name : datatype_name) = reader.bytes().ToString();
          break;
        case kTensorParameters: {
          std::string key;
          std::optional<Parameter> value;
          if (!ReadParameter(reader.bytes(), &key, &value)) return Malformed();
          placed = placed || (value.has_value() && key == "shared_memory_region");
          break;
        }
        case kContents:
          if (contents.has_value()) return Broken(detail::Cat("output '", name, "' has contents twice"));
          contents = reader.bytes();
          break;
        default:
          break;
      }
    }
    if (!reader.ok()) return Malformed();
    const absl::StatusOr<DataType> datatype = ParseDataType(datatype_name);
    if (!datatype.ok()) return Broken(detail::Cat("output '", name, "': ", detail::ToStd(datatype.status().message())));
    Shape shape(std::span<const std::int64_t>(dimensions.data(), rank));
    const absl::StatusOr<std::int64_t> count = ElementCount(shape);
    if (!count.ok()) return Broken(detail::Cat("output '", name, "': ", detail::ToStd(count.status().message())));
    if (raw != nullptr && contents.has_value() && contents->size() > 0) {  // MLServer puts empty ones beside raw ones
      return Broken(detail::Cat("output '", name, "' has raw and typed contents"));
    }
    // Triton leaves the entry of an output in shared memory empty and says no more; others name the region.
    if (placed || (raw != nullptr && raw->size() == 0 && *count > 0)) {
      result.AddPlaced({std::move(name), *datatype, std::move(shape)});
      return absl::OkStatus();
    }
    if (raw == nullptr) {
      return DecodeTyped(name, *datatype, std::move(shape), *count, contents.value_or(detail::Pieces()), *arrived,
                         result);
    }
    const std::uint64_t width = ElementSize(*datatype);
    if (width != 0 && (raw->size() % width != 0 || raw->size() / width != static_cast<std::uint64_t>(*count))) {
      return Broken(detail::Cat("output '", name, "': ", DataTypeName(*datatype), " ", shape.ToString(),
                                " does not take ", raw->size(), " bytes"));
    }
    result.AddPieces(std::move(name), *datatype, *raw, std::move(shape), arrived);
    return absl::OkStatus();
  }

  // Typed contents: the small integers share fields of 32 bits, and the 16-bit floats have none. They are copied to
  // where they stay, and no output refers to what arrived: it goes as it is read.
  static absl::Status DecodeTyped(const std::string& name, DataType datatype, Shape shape, std::int64_t count,
                                  detail::Pieces contents, wire::Arrived& arrived, InferResult& result) {
    const auto numbers = [&]<class T>(std::uint32_t field, T) {
      return AddNumbers<T>(name, field, std::move(shape), count, contents, arrived, result);
    };
    switch (datatype) {
      case DataType::kBool:
        return numbers(1, bool());
      case DataType::kInt8:
        return numbers(2, std::int8_t());
      case DataType::kInt16:
        return numbers(2, std::int16_t());
      case DataType::kInt32:
        return numbers(2, std::int32_t());
      case DataType::kInt64:
        return numbers(3, std::int64_t());
      case DataType::kUint8:
        return numbers(4, std::uint8_t());
      case DataType::kUint16:
        return numbers(4, std::uint16_t());
      case DataType::kUint32:
        return numbers(4, std::uint32_t());
      case DataType::kUint64:
        return numbers(5, std::uint64_t());
      case DataType::kFp32:
        return numbers(6, float());
      case DataType::kFp64:
        return numbers(7, double());
      case DataType::kBytes:
        return AddStrings(name, std::move(shape), count, contents, arrived, result);
      case DataType::kFp16:
      case DataType::kBf16:
        break;
    }
    return Broken(detail::Cat("output '", name, "': ", DataTypeName(datatype), " exists only as raw contents"));
  }

  // Calls `fn` with each number in field `field`, packed or not; false where they are malformed, or `fn` says so.
  // `read_up_to` is told now and then what is yet to be read.
  template <class Fn, class ReadUpTo>
  static bool ForEachNumber(detail::Pieces contents, std::uint32_t field, wire::PieceReader::Type type, Fn fn,
                            ReadUpTo read_up_to) {
    wire::PieceReader reader(contents);
    while (reader.Next()) {
      if (reader.field() != field) continue;
      if (reader.type() == type && !fn(reader.number())) return false;
      if (reader.type() != wire::PieceReader::kBytes) continue;
      const unsigned width = type == wire::PieceReader::kFixed32 ? 4 : 8;
      if (!(type == wire::PieceReader::kVarint ? ForEachVarint(reader.bytes(), fn, read_up_to)
                                               : ForEachFixed(reader.bytes(), width, fn, read_up_to))) {
        return false;
      }
    }
    return reader.ok();
  }
  // Packed numbers, piece by piece: one may begin in one and end in the next.
  template <class Fn, class ReadUpTo>
  static bool ForEachVarint(detail::Pieces packed, Fn& fn, ReadUpTo& read_up_to) {
    std::uint64_t number = 0;
    unsigned shift = 0;
    while (packed.size() > 0) {
      const detail::Pieces::Piece piece = packed.Head();
      for (const std::byte one : piece) {
        const auto byte = static_cast<std::uint8_t>(one);
        if (shift == 63 && byte > 1) return false;  // beyond 64 bits
        number |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
        if ((byte & 0x80) != 0) {
          shift += 7;
          continue;
        }
        if (!fn(std::exchange(number, 0))) return false;
        shift = 0;
      }
      packed.remove_prefix(piece.size());
      read_up_to(packed);
    }
    return shift == 0;
  }
  template <class Fn, class ReadUpTo>
  static bool ForEachFixed(detail::Pieces packed, unsigned width, Fn& fn, ReadUpTo& read_up_to) {
    std::uint64_t number = 0;
    unsigned have = 0;
    while (packed.size() > 0) {
      const detail::Pieces::Piece piece = packed.Head();
      for (const std::byte one : piece) {
        number |= static_cast<std::uint64_t>(one) << (8 * have);
        if (++have < width) continue;
        if (!fn(std::exchange(number, 0))) return false;
        have = 0;
      }
      packed.remove_prefix(piece.size());
      read_up_to(packed);
    }
    return have == 0;
  }

  template <class T>
  static absl::Status AddNumbers(const std::string& name, std::uint32_t field, Shape shape, std::int64_t count,
                                 detail::Pieces contents, wire::Arrived& arrived, InferResult& result) {
    constexpr wire::PieceReader::Type kType = std::is_same_v<T, float>    ? wire::PieceReader::kFixed32
                                              : std::is_same_v<T, double> ? wire::PieceReader::kFixed64
                                                                          : wire::PieceReader::kVarint;
    // Counted first, so that a shape's claim alone allocates nothing, and what is allocated is filled.
    std::size_t given = 0;
    const auto count_one = [&](std::uint64_t) { return ++given != 0; };
    if (!ForEachNumber(contents, field, kType, count_one, [](const detail::Pieces&) {})) return Malformed();
    if (!std::cmp_equal(given, count)) {
      return Broken(detail::Cat("output '", name, "': shape ", shape.ToString(), " holds ", count, " elements, but ",
                                given, " were given"));
    }
    const std::shared_ptr<T[]> elements(new T[given]);
    T* to = elements.get();
    std::string misfit;
    const auto put = [&](std::uint64_t number) {
      bool fits = true;
      if constexpr (std::is_same_v<T, float>) {
        *to = std::bit_cast<float>(static_cast<std::uint32_t>(number));
      } else if constexpr (std::is_same_v<T, double>) {
        *to = std::bit_cast<double>(number);
      } else if constexpr (std::is_same_v<T, bool>) {
        *to = number != 0;
      } else if constexpr (std::is_signed_v<T>) {
        fits = std::in_range<T>(static_cast<std::int64_t>(number));
        if (!fits) misfit = detail::Cat(static_cast<std::int64_t>(number));
        *to = static_cast<T>(number);
      } else {
        fits = std::in_range<T>(number);
        if (!fits) misfit = detail::Cat(number);
        *to = static_cast<T>(number);
      }
      ++to;
      return fits;
    };
    ForEachNumber(contents, field, kType, put, [&](const detail::Pieces& rest) { arrived.ReleaseBefore(rest); });
    if (!misfit.empty()) {
      return Broken(detail::Cat("output '", name, "': ", misfit, " is no ", DataTypeName(DataTypeOf<T>)));
    }
    result.AddShared<T>(name, std::span<const T>(elements.get(), given), std::move(shape), elements);
    return absl::OkStatus();
  }

  // Put into the layout of raw contents, which takes at most twice the room.
  static absl::Status AddStrings(const std::string& name, Shape shape, std::int64_t count, detail::Pieces contents,
                                 wire::Arrived& arrived, InferResult& result) {
    constexpr std::uint32_t kBytesContents = 8;
    const auto for_each = [&](auto fn) {
      wire::PieceReader reader(contents);
      while (reader.Next()) {
        if (reader.field() == kBytesContents && reader.type() == wire::PieceReader::kBytes) fn(reader.bytes());
      }
      return reader.ok();
    };
    std::size_t size = 0;
    std::uint64_t given = 0;
    const bool legal = for_each([&](detail::Pieces element) {
      size += 4 + element.size();
      ++given;
    });
    if (!legal) return Malformed();
    if (!std::cmp_equal(given, count)) {
      return Broken(detail::Cat("output '", name, "': shape ", shape.ToString(), " holds ", count, " elements, but ",
                                given, " were given"));
    }
    std::string raw(size, '\0');
    auto* to = reinterpret_cast<std::byte*>(raw.data());
    for_each([&](detail::Pieces element) {
      const auto length = static_cast<std::uint32_t>(element.size());  // a message has at most 2 GiB
      std::memcpy(to, &length, 4);
      element.CopyTo(to + 4);
      to += 4 + element.size();
      arrived.ReleaseBefore(element);
    });
    result.AddRaw(name, DataType::kBytes, std::move(raw), std::move(shape));
    return absl::OkStatus();
  }
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_OPEN_INFERENCE_CODEC_H_
