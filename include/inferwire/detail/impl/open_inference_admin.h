// SPDX-License-Identifier: Apache-2.0
//
// What the Open Inference Protocol's messages about servers and models say.
#ifndef INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_ADMIN_H_
#define INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_ADMIN_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/admin_types.h"
#include "inferwire/contract/open_inference.pb.h"
#include "inferwire/contract/open_inference_admin.pb.h"
#include "inferwire/contract/open_inference_config.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/open_inference_admin.h"
#include "inferwire/model_metadata.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
/// Their fields, as the neutral types have them.
struct OpenInferenceTypes {
  template <class Dimensions>
  static Shape ShapeOf(const Dimensions& dimensions) {
    return Shape(std::span<const std::int64_t>(dimensions.data(), static_cast<std::size_t>(dimensions.size())));
  }

  // What a server says may exceed what a duration or a time holds.
  static std::int64_t Signed(std::uint64_t number) {
    return static_cast<std::int64_t>(
        (std::min)(number, static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)())));
  }
  static Timing TimingOf(const open_inference::StatisticDuration& from) {
    return {from.count(), absl::Nanoseconds(Signed(from.ns()))};
  }

  template <class Region>
  static std::vector<Region> SortedByName(std::vector<Region> regions) {
    std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) { return a.name < b.name; });
    return regions;
  }

  static std::optional<DataType> DataTypeOf(open_inference::DataType type) {
    switch (type) {
      case open_inference::TYPE_BOOL:
        return DataType::kBool;
      case open_inference::TYPE_UINT8:
        return DataType::kUint8;
      case open_inference::TYPE_UINT16:
        return DataType::kUint16;
      case open_inference::TYPE_UINT32:
        return DataType::kUint32;
      case open_inference::TYPE_UINT64:
        return DataType::kUint64;
      case open_inference::TYPE_INT8:
        return DataType::kInt8;
      case open_inference::TYPE_INT16:
        return DataType::kInt16;
      case open_inference::TYPE_INT32:
        return DataType::kInt32;
      case open_inference::TYPE_INT64:
        return DataType::kInt64;
      case open_inference::TYPE_FP16:
        return DataType::kFp16;
      case open_inference::TYPE_FP32:
        return DataType::kFp32;
      case open_inference::TYPE_FP64:
        return DataType::kFp64;
      case open_inference::TYPE_STRING:
        return DataType::kBytes;
      case open_inference::TYPE_BF16:
        return DataType::kBf16;
      default:
        return std::nullopt;
    }
  }
};
}  // namespace detail

INFERWIRE_DECL v0::ServerMetadata OpenInferenceAdmin::Decode(open_inference::ServerMetadataResponse&& response) {
  return {std::string(response.name()),
          std::string(response.version()),
          {response.extensions().begin(), response.extensions().end()}};
}

INFERWIRE_DECL absl::StatusOr<v0::ModelMetadata> OpenInferenceAdmin::Decode(
    open_inference::ModelMetadataResponse&& response) {
  v0::ModelMetadata metadata{std::string(response.name()),
                             {response.versions().begin(), response.versions().end()},
                             std::string(response.platform()),
                             {},
                             {}};
  for (const auto& [from, to] :
       {std::pair(&response.inputs(), &metadata.inputs), std::pair(&response.outputs(), &metadata.outputs)}) {
    for (const auto& tensor : *from) {
      const absl::StatusOr<DataType> datatype = ParseDataType(std::string_view(tensor.datatype()));
      if (!datatype.ok()) {
        return detail::InternalError(detail::Cat("the server's answer contradicts itself: tensor '",
                                                 std::string_view(tensor.name()),
                                                 "': ", detail::ToStd(datatype.status().message())));
      }
      to->push_back({std::string(tensor.name()), *datatype, detail::OpenInferenceTypes::ShapeOf(tensor.shape())});
    }
  }
  return metadata;
}

INFERWIRE_DECL absl::StatusOr<v0::ModelConfig> OpenInferenceAdmin::Decode(
    open_inference::ModelConfigResponse&& response) {
  const open_inference::ModelConfig& from = response.config();
  v0::ModelConfig config;
  config.name = std::string(from.name());
  config.platform = std::string(from.platform());
  config.backend = std::string(from.backend());
  config.runtime = std::string(from.runtime());
  config.max_batch_size = from.max_batch_size();
  for (const auto& input : from.input()) {
    config.inputs.push_back({std::string(input.name()), detail::OpenInferenceTypes::DataTypeOf(input.data_type()),
                             detail::OpenInferenceTypes::ShapeOf(input.dims()), input.optional(), ""});
  }
  for (const auto& output : from.output()) {
    config.outputs.push_back({std::string(output.name()), detail::OpenInferenceTypes::DataTypeOf(output.data_type()),
                              detail::OpenInferenceTypes::ShapeOf(output.dims()), false,
                              std::string(output.label_filename())});
  }
  config.decoupled = from.model_transaction_policy().decoupled();
  config.dynamic_batching = from.has_dynamic_batching();
  config.sequence = from.has_sequence_batching();
  config.ensemble = from.has_ensemble_scheduling();
  for (const auto& [key, value] : from.parameters()) {
    config.parameters[std::string(key)] = std::string(value.string_value());
  }
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;  // as servers read it
  if (!google::protobuf::util::MessageToJsonString(from, &config.json, options).ok()) {
    return detail::InternalError(detail::Cat("the configuration of '", config.name, "' cannot be written as JSON"));
  }
  return config;
}

INFERWIRE_DECL std::vector<v0::ModelStatistics> OpenInferenceAdmin::Decode(
    open_inference::ModelStatisticsResponse&& response) {
  std::vector<v0::ModelStatistics> out;
  for (const auto& from : response.model_stats()) {
    v0::ModelStatistics model;
    model.name = std::string(from.name());
    model.version = std::string(from.version());
    model.last_inference = absl::FromUnixMillis(detail::OpenInferenceTypes::Signed(from.last_inference()));
    model.inference_count = from.inference_count();
    model.execution_count = from.execution_count();
    const auto& times = from.inference_stats();
    model.success = detail::OpenInferenceTypes::TimingOf(times.success());
    model.fail = detail::OpenInferenceTypes::TimingOf(times.fail());
    model.queue = detail::OpenInferenceTypes::TimingOf(times.queue());
    model.compute_input = detail::OpenInferenceTypes::TimingOf(times.compute_input());
    model.compute_infer = detail::OpenInferenceTypes::TimingOf(times.compute_infer());
    model.compute_output = detail::OpenInferenceTypes::TimingOf(times.compute_output());
    model.cache_hit = detail::OpenInferenceTypes::TimingOf(times.cache_hit());
    model.cache_miss = detail::OpenInferenceTypes::TimingOf(times.cache_miss());
    for (const auto& batch : from.batch_stats()) {
      model.batches.push_back({batch.batch_size(), detail::OpenInferenceTypes::TimingOf(batch.compute_input()),
                               detail::OpenInferenceTypes::TimingOf(batch.compute_infer()),
                               detail::OpenInferenceTypes::TimingOf(batch.compute_output())});
    }
    for (const auto& memory : from.memory_usage()) {
      model.memory.push_back({std::string(memory.type()), memory.id(), memory.byte_size()});
    }
    for (const auto& [place, answer] : from.response_stats()) {
      model.responses[std::string(place)] = {detail::OpenInferenceTypes::TimingOf(answer.compute_infer()),
                                             detail::OpenInferenceTypes::TimingOf(answer.compute_output()),
                                             detail::OpenInferenceTypes::TimingOf(answer.success()),
                                             detail::OpenInferenceTypes::TimingOf(answer.fail()),
                                             detail::OpenInferenceTypes::TimingOf(answer.empty_response()),
                                             detail::OpenInferenceTypes::TimingOf(answer.cancel())};
    }
    out.push_back(std::move(model));
  }
  return out;
}

INFERWIRE_DECL std::vector<RepositoryModel> OpenInferenceAdmin::Decode(
    open_inference::RepositoryIndexResponse&& response) {
  std::vector<RepositoryModel> out;
  for (const auto& model : response.models()) {
    out.push_back({std::string(model.name()), std::string(model.version()), std::string(model.state()),
                   std::string(model.reason())});
  }
  return out;
}

INFERWIRE_DECL std::vector<SystemSharedMemory> OpenInferenceAdmin::Decode(
    open_inference::SystemSharedMemoryStatusResponse&& response) {
  std::vector<SystemSharedMemory> out;
  for (const auto& [name, region] : response.regions()) {
    out.push_back({std::string(name), std::string(region.key()), region.offset(), region.byte_size()});
  }
  return detail::OpenInferenceTypes::SortedByName(std::move(out));
}

INFERWIRE_DECL std::vector<CudaSharedMemory> OpenInferenceAdmin::Decode(
    open_inference::CudaSharedMemoryStatusResponse&& response) {
  std::vector<CudaSharedMemory> out;
  for (const auto& [name, region] : response.regions()) {
    out.push_back({std::string(name), region.device_id(), region.byte_size()});
  }
  return detail::OpenInferenceTypes::SortedByName(std::move(out));
}

INFERWIRE_DECL v0::TraceSettings OpenInferenceAdmin::Decode(open_inference::TraceSettingResponse&& response) {
  v0::TraceSettings out;
  for (const auto& [key, setting] : response.settings()) {
    out[std::string(key)].assign(setting.value().begin(), setting.value().end());
  }
  return out;
}

INFERWIRE_DECL open_inference::TraceSettingRequest OpenInferenceAdmin::Encode(const v0::TraceSettings& settings,
                                                                              const std::string& model) {
  open_inference::TraceSettingRequest out;
  out.set_model_name(model);
  for (const auto& [key, values] : settings) {
    auto& setting = (*out.mutable_settings())[key];
    for (const std::string& value : values) setting.add_value(value);
  }
  return out;
}

INFERWIRE_DECL v0::LogSettings OpenInferenceAdmin::Decode(open_inference::LogSettingsResponse&& response) {
  v0::LogSettings out;
  for (const auto& [key, setting] : response.settings()) {
    if (setting.has_bool_param()) {
      out[std::string(key)] = setting.bool_param();
    } else if (setting.has_uint32_param()) {
      out[std::string(key)] = static_cast<std::int64_t>(setting.uint32_param());
    } else {
      out[std::string(key)] = std::string(setting.string_param());
    }
  }
  return out;
}

INFERWIRE_DECL absl::StatusOr<open_inference::LogSettingsRequest> OpenInferenceAdmin::Encode(
    const v0::LogSettings& settings) {
  open_inference::LogSettingsRequest out;
  for (const auto& [key, value] : settings) {
    auto& setting = (*out.mutable_settings())[key];
    if (const auto* const number = std::get_if<std::int64_t>(&value)) {
      if (!std::in_range<std::uint32_t>(*number)) {
        return detail::InvalidArgumentError(
            detail::Cat("the log setting '", key, "' of ", *number, "; expected 0 to 4294967295"));
      }
      setting.set_uint32_param(static_cast<std::uint32_t>(*number));
    } else if (const auto* const flag = std::get_if<bool>(&value)) {
      setting.set_bool_param(*flag);
    } else {
      setting.set_string_param(std::get<std::string>(value));
    }
  }
  return out;
}

INFERWIRE_DECL absl::StatusOr<open_inference::RepositoryModelLoadRequest> OpenInferenceAdmin::LoadRequest(
    const std::string& model, const LoadOptions& options) {
  if (!options.files.empty() && options.config.empty()) {
    return detail::InvalidArgumentError(
        detail::Cat("model '", model, "' is to be loaded from files; expected LoadOptions::config with them"));
  }
  open_inference::RepositoryModelLoadRequest out;
  out.set_repository_name(options.repository);
  out.set_model_name(model);
  if (!options.config.empty()) (*out.mutable_parameters())["config"].set_string_param(options.config);
  for (const auto& [path, contents] : options.files) {
    (*out.mutable_parameters())["file:" + path].set_bytes_param(contents);
  }
  return out;
}

INFERWIRE_DECL absl::StatusOr<open_inference::RepositoryModelUnloadRequest> OpenInferenceAdmin::UnloadRequest(
    const std::string& model, const UnloadOptions& options) {
  open_inference::RepositoryModelUnloadRequest out;
  out.set_repository_name(options.repository);
  out.set_model_name(model);
  if (options.dependents) (*out.mutable_parameters())["unload_dependents"].set_bool_param(true);
  return out;
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_OPEN_INFERENCE_ADMIN_H_
