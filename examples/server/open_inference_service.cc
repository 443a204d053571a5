// SPDX-License-Identifier: Apache-2.0
#include "server/open_inference_service.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <set>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/version.h"
#include "server/status.h"
#include "server/tensor.h"
#include "server/text.h"

namespace inferwire::examples {
namespace {

using inference::InferTensorContents;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using InputTensor = ModelInferRequest::InferInputTensor;

constexpr char kVersion[] = "1";

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

// Parameters that would change what the bytes mean; ignoring them would give a wrong answer instead of an error.
template <class TensorMessage>
absl::Status CheckParameters(const TensorMessage& tensor) {
  for (const char* key : {"shared_memory_region", "classification"}) {
    if (tensor.parameters().contains(key)) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quote(tensor.name()), ": the parameter ", key, " is not offered by this server"));
    }
  }
  return absl::OkStatus();
}

// The request's tensors, borrowing from the request, or from `storage` where they came as typed contents.
absl::StatusOr<std::vector<TensorView>> ReadInputs(const ModelInferRequest& request, std::deque<std::string>& storage) {
  const int raw_entries = request.raw_input_contents_size();
  if (raw_entries > 0 && raw_entries != request.inputs_size()) {
    return absl::InvalidArgumentError(absl::StrCat("expected one entry of raw_input_contents an input, found ",
                                                   raw_entries, " for ", request.inputs_size(), " inputs"));
  }
  std::vector<TensorView> inputs;
  for (int i = 0; i < request.inputs_size(); ++i) {
    const InputTensor& input = request.inputs(i);
    if (absl::Status status = CheckParameters(input); !status.ok()) return status;
    TensorView view{std::string(input.name()),
                    std::string(input.datatype()),
                    Shape(input.shape().begin(), input.shape().end()),
                    {}};
    if (raw_entries > 0) {
      if (input.has_contents()) return BadInput(input, "expected contents or raw_input_contents, found both");
      view.data = request.raw_input_contents(i);
    } else {
      absl::StatusOr<std::string> data = RawContents(input);
      if (!data.ok()) return data.status();
      view.data = storage.emplace_back(*std::move(data));
    }
    if (absl::Status status = CheckData(view); !status.ok()) return status;
    inputs.push_back(std::move(view));
  }
  return inputs;
}

// Which of the model's outputs to send, in which order.
absl::StatusOr<std::vector<std::size_t>> ChooseOutputs(const ModelInferRequest& request, const ModelSpec& spec) {
  std::vector<std::size_t> chosen;
  std::vector<std::string> names;
  for (const TensorSpec& output : spec.outputs) names.push_back(output.name);
  if (request.outputs().empty()) {
    for (std::size_t i = 0; i < names.size(); ++i) chosen.push_back(i);
    return chosen;
  }
  std::set<std::size_t> seen;
  for (const auto& output : request.outputs()) {
    if (absl::Status status = CheckParameters(output); !status.ok()) return status;
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
    chosen.push_back(index);
  }
  return chosen;
}

void Describe(const TensorSpec& spec, inference::ModelMetadataResponse::TensorMetadata& metadata) {
  metadata.set_name(spec.name);
  // A model that takes anything has to name something: metadata knows no "any".
  metadata.set_datatype(spec.datatypes.empty() ? "FP32" : spec.datatypes.front());
  metadata.mutable_shape()->Assign(spec.shape.begin(), spec.shape.end());
}

}  // namespace

absl::StatusOr<const Model*> OpenInferenceService::Find(const std::string& name, const std::string& version) const {
  absl::StatusOr<const Model*> model = models_.Find(name);
  if (!model.ok() || version.empty() || version == kVersion) return model;
  return absl::NotFoundError(
      absl::StrCat("model ", Quote(name), " has no version ", Quote(version), "; there is version ", kVersion));
}

grpc::Status OpenInferenceService::ServerLive(grpc::ServerContext*, const inference::ServerLiveRequest*,
                                              inference::ServerLiveResponse* response) {
  response->set_live(true);
  return grpc::Status();
}

grpc::Status OpenInferenceService::ServerReady(grpc::ServerContext*, const inference::ServerReadyRequest*,
                                               inference::ServerReadyResponse* response) {
  response->set_ready(true);  // the models were loaded before the port was opened
  return grpc::Status();
}

grpc::Status OpenInferenceService::ModelReady(grpc::ServerContext*, const inference::ModelReadyRequest* request,
                                              inference::ModelReadyResponse* response) {
  absl::StatusOr<const Model*> model = Find(std::string(request->name()), std::string(request->version()));
  if (!model.ok()) return ToGrpc(model.status());
  response->set_ready(true);
  return grpc::Status();
}

grpc::Status OpenInferenceService::ServerMetadata(grpc::ServerContext*, const inference::ServerMetadataRequest*,
                                                  inference::ServerMetadataResponse* response) {
  response->set_name("inferwire-server");
  response->set_version(INFERWIRE_VERSION);
  return grpc::Status();
}

grpc::Status OpenInferenceService::ModelMetadata(grpc::ServerContext*, const inference::ModelMetadataRequest* request,
                                                 inference::ModelMetadataResponse* response) {
  absl::StatusOr<const Model*> model = Find(std::string(request->name()), std::string(request->version()));
  if (!model.ok()) return ToGrpc(model.status());
  const ModelSpec& spec = (*model)->spec();
  response->set_name(spec.name);
  response->add_versions(kVersion);
  response->set_platform(spec.platform);
  for (const TensorSpec& input : spec.inputs) Describe(input, *response->add_inputs());
  for (const TensorSpec& output : spec.outputs) Describe(output, *response->add_outputs());
  return grpc::Status();
}

absl::Status OpenInferenceService::Infer(const ModelInferRequest& request, ModelInferResponse& response) const {
  absl::StatusOr<const Model*> model = Find(std::string(request.model_name()), std::string(request.model_version()));
  if (!model.ok()) return model.status();
  const ModelSpec& spec = (*model)->spec();
  absl::StatusOr<std::vector<std::size_t>> chosen = ChooseOutputs(request, spec);
  if (!chosen.ok()) return chosen.status();
  std::deque<std::string> storage;
  absl::StatusOr<std::vector<TensorView>> inputs = ReadInputs(request, storage);
  if (!inputs.ok()) return inputs.status();
  absl::StatusOr<std::vector<Tensor>> outputs = (*model)->Infer(*inputs);
  if (!outputs.ok()) return outputs.status();

  response.set_model_name(spec.name);
  response.set_model_version(kVersion);
  response.set_id(std::string(request.id()));
  const bool raw = request.raw_input_contents_size() > 0;
  for (const std::size_t index : *chosen) {
    Tensor& tensor = (*outputs)[index];
    auto& output = *response.add_outputs();
    output.set_name(tensor.name);
    output.set_datatype(tensor.datatype);
    output.mutable_shape()->Assign(tensor.shape.begin(), tensor.shape.end());
    if (raw) {
      *response.add_raw_output_contents() = std::move(tensor.data);
    } else {
      SetContents({tensor.name, tensor.datatype, tensor.shape, tensor.data}, *output.mutable_contents());
    }
  }
  return absl::OkStatus();
}

grpc::Status OpenInferenceService::ModelInfer(grpc::ServerContext*, const ModelInferRequest* request,
                                              ModelInferResponse* response) {
  return ToGrpc(Infer(*request, *response));
}

}  // namespace inferwire::examples
