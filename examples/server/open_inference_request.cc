// SPDX-License-Identifier: Apache-2.0
#include "server/open_inference_request.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <set>
#include <string_view>
#include <type_traits>
#include <utility>

#include "server/repository.h"
#include "server/text.h"

namespace inferwire::examples {
namespace {

using inference::InferParameter;
using inference::InferTensorContents;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using InputTensor = ModelInferRequest::InferInputTensor;

absl::Status BadInput(const InputTensor& input, const std::string& reason) {
  return absl::InvalidArgumentError(absl::StrCat("input ", Quote(input.name()), ": ", reason));
}

// The fields of InferTensorContents, and the datatypes that each one carries.
enum class Field { kNone, kBool, kInt, kInt64, kUint, kUint64, kFp32, kFp64, kBytes };

Field FieldOf(std::string_view datatype) {
  if (datatype == "BOOL") return Field::kBool;
  if (datatype == "INT8" || datatype == "INT16" || datatype == "INT32") return Field::kInt;
  if (datatype == "INT64") return Field::kInt64;
  if (datatype == "UINT8" || datatype == "UINT16" || datatype == "UINT32") return Field::kUint;
  if (datatype == "UINT64") return Field::kUint64;
  if (datatype == "FP32") return Field::kFp32;
  if (datatype == "FP64") return Field::kFp64;
  if (datatype == "BYTES") return Field::kBytes;
  return Field::kNone;  // FP16 and BF16 travel raw only
}

// Which fields hold something.
std::vector<std::pair<Field, std::string>> Filled(const InferTensorContents& contents) {
  std::vector<std::pair<Field, std::string>> filled;
  const auto note = [&](Field field, int size, const char* name) {
    if (size > 0) filled.emplace_back(field, name);
  };
  note(Field::kBool, contents.bool_contents_size(), "bool_contents");
  note(Field::kInt, contents.int_contents_size(), "int_contents");
  note(Field::kInt64, contents.int64_contents_size(), "int64_contents");
  note(Field::kUint, contents.uint_contents_size(), "uint_contents");
  note(Field::kUint64, contents.uint64_contents_size(), "uint64_contents");
  note(Field::kFp32, contents.fp32_contents_size(), "fp32_contents");
  note(Field::kFp64, contents.fp64_contents_size(), "fp64_contents");
  note(Field::kBytes, contents.bytes_contents_size(), "bytes_contents");
  return filled;
}

// Numbers as the bytes of T. False when one does not fit: T may be narrower than the field that carried it.
template <class T, class Numbers>
bool AppendNumbers(const Numbers& numbers, std::string& data) {
  data.reserve(static_cast<std::size_t>(numbers.size()) * sizeof(T));
  for (const auto number : numbers) {
    const T value = static_cast<T>(number);
    if constexpr (std::is_integral_v<T>) {
      if (value != number) return false;
    }
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    data.append(bytes, sizeof(T));
  }
  return true;
}

// Typed contents in the layout of raw ones.
absl::StatusOr<std::string> RawContents(const InputTensor& input) {
  const InferTensorContents& contents = input.contents();
  const std::string_view datatype = input.datatype();
  const Field field = FieldOf(datatype);
  for (const auto& [filled, name] : Filled(contents)) {
    if (filled == field) continue;
    return BadInput(input, absl::StrCat(name, " does not carry ", Quote(datatype),
                                        field == Field::kNone ? "; expected raw_input_contents" : ""));
  }
  std::string data;
  bool fits = true;
  switch (field) {
    case Field::kNone:
      break;
    case Field::kBool:
      fits = AppendNumbers<std::uint8_t>(contents.bool_contents(), data);
      break;
    case Field::kInt:
      fits = datatype == "INT8"    ? AppendNumbers<std::int8_t>(contents.int_contents(), data)
             : datatype == "INT16" ? AppendNumbers<std::int16_t>(contents.int_contents(), data)
                                   : AppendNumbers<std::int32_t>(contents.int_contents(), data);
      break;
    case Field::kInt64:
      fits = AppendNumbers<std::int64_t>(contents.int64_contents(), data);
      break;
    case Field::kUint:
      fits = datatype == "UINT8"    ? AppendNumbers<std::uint8_t>(contents.uint_contents(), data)
             : datatype == "UINT16" ? AppendNumbers<std::uint16_t>(contents.uint_contents(), data)
                                    : AppendNumbers<std::uint32_t>(contents.uint_contents(), data);
      break;
    case Field::kUint64:
      fits = AppendNumbers<std::uint64_t>(contents.uint64_contents(), data);
      break;
    case Field::kFp32:
      fits = AppendNumbers<float>(contents.fp32_contents(), data);
      break;
    case Field::kFp64:
      fits = AppendNumbers<double>(contents.fp64_contents(), data);
      break;
    case Field::kBytes:
      for (const auto& element : contents.bytes_contents()) AppendString(element, data);
      break;
  }
  if (!fits) return BadInput(input, absl::StrCat("a number does not fit into ", Quote(datatype)));
  return data;
}

template <class T, class Numbers>
void AddNumbers(const TensorView& tensor, Numbers& numbers) {
  const std::vector<T> values = Values<T>(tensor);
  numbers.Reserve(static_cast<int>(values.size()));
  for (const T value : values) numbers.Add(value);
}

void SetContents(const TensorView& tensor, InferTensorContents& contents) {
  const std::string& datatype = tensor.datatype;
  switch (FieldOf(datatype)) {
    case Field::kNone:
      break;  // no elements: a typed request cannot have brought any
    case Field::kBool:
      for (const std::uint8_t value : Values<std::uint8_t>(tensor)) contents.add_bool_contents(value != 0);
      break;
    case Field::kInt:
      if (datatype == "INT8") AddNumbers<std::int8_t>(tensor, *contents.mutable_int_contents());
      if (datatype == "INT16") AddNumbers<std::int16_t>(tensor, *contents.mutable_int_contents());
      if (datatype == "INT32") AddNumbers<std::int32_t>(tensor, *contents.mutable_int_contents());
      break;
    case Field::kInt64:
      AddNumbers<std::int64_t>(tensor, *contents.mutable_int64_contents());
      break;
    case Field::kUint:
      if (datatype == "UINT8") AddNumbers<std::uint8_t>(tensor, *contents.mutable_uint_contents());
      if (datatype == "UINT16") AddNumbers<std::uint16_t>(tensor, *contents.mutable_uint_contents());
      if (datatype == "UINT32") AddNumbers<std::uint32_t>(tensor, *contents.mutable_uint_contents());
      break;
    case Field::kUint64:
      AddNumbers<std::uint64_t>(tensor, *contents.mutable_uint64_contents());
      break;
    case Field::kFp32:
      AddNumbers<float>(tensor, *contents.mutable_fp32_contents());
      break;
    case Field::kFp64:
      AddNumbers<double>(tensor, *contents.mutable_fp64_contents());
      break;
    case Field::kBytes:
      for (const std::string_view element : Strings(tensor)) {
        contents.add_bytes_contents(element.data(), element.size());
      }
      break;
  }
}

absl::Status BadParameter(std::string_view key, std::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("the parameter ", Quote(key), ": expected ", std::string(expected)));
}

// Where a tensor's parameters put it, if they do.
template <class TensorMessage>
absl::StatusOr<std::optional<SharedMemory::View>> ReadPlace(const TensorMessage& tensor,
                                                            const SharedMemory& shared_memory) {
  std::string region;
  std::int64_t offset = 0;
  std::int64_t byte_size = 0;
  for (const auto& [key, value] : tensor.parameters()) {
    if (key == "classification") {
      // Ignoring it would give a wrong answer instead of an error.
      return absl::InvalidArgumentError(absl::StrCat("tensor ", Quote(tensor.name()),
                                                     ": the parameter classification is not offered by this server"));
    }
    if (key == "shared_memory_region") {
      if (!value.has_string_param() || value.string_param().empty()) return BadParameter(key, "a name");
      region = std::string(value.string_param());
    } else if (key == "shared_memory_byte_size" || key == "shared_memory_offset") {
      if (!value.has_int64_param()) return BadParameter(key, "an int64");
      (key == "shared_memory_offset" ? offset : byte_size) = value.int64_param();
    }
  }
  if (region.empty()) return std::nullopt;
  absl::StatusOr<SharedMemory::View> view = shared_memory.Find(region, offset, byte_size);
  if (!view.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", Quote(tensor.name()), ": ", std::string(view.status().message())));
  }
  return *std::move(view);
}

}  // namespace

absl::StatusOr<OpenInferenceRequest> OpenInferenceRequest::Read(const ModelInferRequest& message, const Model& model,
                                                                const SharedMemory& shared_memory) {
  OpenInferenceRequest request;
  request.message_ = &message;
  request.model_ = &model;
  if (absl::Status status = request.ReadParameters(); !status.ok()) return status;
  if (absl::Status status = request.ReadOutputs(shared_memory); !status.ok()) return status;
  if (absl::Status status = request.ReadInputs(shared_memory); !status.ok()) return status;
  return request;
}

// The reserved ones; others are the caller's own and mean nothing here.
absl::Status OpenInferenceRequest::ReadParameters() {
  for (const auto& [key, value] : message_->parameters()) {
    if (key == "sequence_id") {
      if (value.has_string_param()) {
        step_.id = std::string(value.string_param());
      } else if (value.has_int64_param()) {
        step_.id = static_cast<std::uint64_t>(value.int64_param());
      } else {
        return BadParameter(key, "an int64 or a string");
      }
    } else if (key == "sequence_start" || key == "sequence_end" || key == "triton_enable_empty_final_response") {
      if (!value.has_bool_param()) return BadParameter(key, "a bool");
      (key == "sequence_start" ? step_.start : key == "sequence_end" ? step_.end : wants_end_) = value.bool_param();
    } else if (key == "priority" || key == "timeout") {
      const bool fits =
          (value.has_int64_param() && value.int64_param() >= 0) || (key == "priority" && value.has_uint64_param());
      if (!fits) return BadParameter(key, "an int64 of 0 or more");
    } else if (std::string_view(key).starts_with("triton_")) {
      return BadParameter(key, "no parameter that begins with triton_, but triton_enable_empty_final_response");
    } else if (value.parameter_choice_case() == InferParameter::PARAMETER_CHOICE_NOT_SET || value.has_uint64_param()) {
      return BadParameter(key, "a bool, an int64, a double or a string");
    }
  }
  if ((step_.start || step_.end) && !step_.has_id()) return BadParameter("sequence_id", "neither 0 nor nothing");
  return absl::OkStatus();
}

// The request's tensors, borrowing from the message, from shared memory, or from `storage_`.
absl::Status OpenInferenceRequest::ReadInputs(const SharedMemory& shared_memory) {
  std::vector<std::optional<SharedMemory::View>> places;
  for (const InputTensor& input : message_->inputs()) {
    absl::StatusOr<std::optional<SharedMemory::View>> place = ReadPlace(input, shared_memory);
    if (!place.ok()) return place.status();
    places.push_back(*std::move(place));
  }
  const auto elsewhere =
      std::count_if(places.begin(), places.end(), [](const auto& place) { return place.has_value(); });
  const int raw_entries = message_->raw_input_contents_size();
  const auto sent = message_->inputs_size() - elsewhere;
  const bool placed =
      std::any_of(outputs_.begin(), outputs_.end(), [](const Output& output) { return output.place.has_value(); });
  raw_ = raw_entries > 0 || elsewhere > 0 || placed;
  if (raw_entries > 0 && raw_entries != sent) {
    return absl::InvalidArgumentError(absl::StrCat("expected one entry of raw_input_contents an input, found ",
                                                   raw_entries, " for ", sent, " inputs"));
  }
  int next_entry = 0;
  for (int i = 0; i < message_->inputs_size(); ++i) {
    const InputTensor& input = message_->inputs(i);
    TensorView view{std::string(input.name()),
                    std::string(input.datatype()),
                    Shape(input.shape().begin(), input.shape().end()),
                    {}};
    if (const auto& place = places[static_cast<std::size_t>(i)]; place.has_value()) {
      if (input.has_contents()) return BadInput(input, "expected contents or shared memory, found both");
      view.data = {reinterpret_cast<const char*>(place->bytes.data()), place->bytes.size()};
      regions_.push_back(place->owner);
    } else if (raw_entries > 0) {
      if (input.has_contents()) return BadInput(input, "expected contents or raw_input_contents, found both");
      view.data = message_->raw_input_contents(next_entry++);
    } else {
      absl::StatusOr<std::string> data = RawContents(input);
      if (!data.ok()) return data.status();
      view.data = storage_.emplace_back(*std::move(data));
    }
    if (absl::Status status = CheckData(view); !status.ok()) return status;
    inputs_.push_back(std::move(view));
  }
  return absl::OkStatus();
}

// Which of the model's outputs to send, in which order, and where to.
absl::Status OpenInferenceRequest::ReadOutputs(const SharedMemory& shared_memory) {
  const ModelSpec& spec = model_->spec();
  std::vector<std::string> names;
  for (const TensorSpec& output : spec.outputs) names.push_back(output.name);
  if (message_->outputs().empty()) {
    for (std::size_t i = 0; i < names.size(); ++i) outputs_.push_back({i, std::nullopt});
    return absl::OkStatus();
  }
  std::set<std::size_t> seen;
  for (const auto& output : message_->outputs()) {
    absl::StatusOr<std::optional<SharedMemory::View>> place = ReadPlace(output, shared_memory);
    if (!place.ok()) return place.status();
    const auto found = std::find(names.begin(), names.end(), std::string_view(output.name()));
    if (found == names.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(spec.name, ": no output ", Quote(output.name()), "; expected ", List(names)));
    }
    const auto index = static_cast<std::size_t>(found - names.begin());
    if (!seen.insert(index).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(spec.name, ": output ", Quote(output.name()), " was requested twice"));
    }
    outputs_.push_back({index, *std::move(place)});
  }
  return absl::OkStatus();
}

void OpenInferenceRequest::Head(ModelInferResponse& answer) const {
  answer.set_model_name(model_->spec().name);
  answer.set_model_version(Repository::kVersion);
  answer.set_id(std::string(message_->id()));
}

absl::Status OpenInferenceRequest::Write(std::vector<Tensor> outputs, ModelInferResponse& answer) const {
  Head(answer);
  for (const Output& chosen : outputs_) {
    Tensor& tensor = outputs[chosen.index];
    auto& output = *answer.add_outputs();
    output.set_name(tensor.name);
    output.set_datatype(tensor.datatype);
    output.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    if (chosen.place.has_value()) {
      const std::span<std::byte> room = chosen.place->bytes;
      if (tensor.data.size() > room.size()) {
        return absl::InvalidArgumentError(absl::StrCat("output ", Quote(tensor.name), " takes ", tensor.data.size(),
                                                       " bytes; shared memory of ", room.size(), " was given"));
      }
      if (!tensor.data.empty()) std::memcpy(room.data(), tensor.data.data(), tensor.data.size());
      answer.add_raw_output_contents();  // empty: the place was the request's choice
    } else if (raw_) {
      *answer.add_raw_output_contents() = std::move(tensor.data);
    } else {
      SetContents({tensor.name, tensor.datatype, tensor.shape, tensor.data}, *output.mutable_contents());
    }
  }
  return absl::OkStatus();
}

}  // namespace inferwire::examples
