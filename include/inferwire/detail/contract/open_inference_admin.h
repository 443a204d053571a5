// SPDX-License-Identifier: Apache-2.0
//
// The Open Inference Protocol's messages about servers and models, to and from the neutral types.
#ifndef INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_ADMIN_H_
#define INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_ADMIN_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <string>
#include <vector>

#include "inferwire/admin_types.h"
#include "inferwire/contract/open_inference.pb.h"
#include "inferwire/contract/open_inference_admin.pb.h"
#include "inferwire/contract/open_inference_config.pb.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/model_metadata.h"

namespace inferwire {
inline namespace v0 {

/// Overloads by message; contracts inherit them.
class OpenInferenceAdmin {
 public:
  static v0::ServerMetadata Decode(open_inference::ServerMetadataResponse&& response);

  /// INTERNAL for a datatype that does not exist.
  static absl::StatusOr<v0::ModelMetadata> Decode(open_inference::ModelMetadataResponse&& response);

  /// INTERNAL where the configuration cannot be written as JSON.
  static absl::StatusOr<v0::ModelConfig> Decode(open_inference::ModelConfigResponse&& response);

  static std::vector<v0::ModelStatistics> Decode(open_inference::ModelStatisticsResponse&& response);

  static std::vector<RepositoryModel> Decode(open_inference::RepositoryIndexResponse&& response);

  static std::vector<SystemSharedMemory> Decode(open_inference::SystemSharedMemoryStatusResponse&& response);
  static std::vector<CudaSharedMemory> Decode(open_inference::CudaSharedMemoryStatusResponse&& response);

  static v0::TraceSettings Decode(open_inference::TraceSettingResponse&& response);
  static open_inference::TraceSettingRequest Encode(const v0::TraceSettings& settings, const std::string& model);

  static v0::LogSettings Decode(open_inference::LogSettingsResponse&& response);
  /// INVALID_ARGUMENT for a number that is not 0 to 2^32 - 1.
  static absl::StatusOr<open_inference::LogSettingsRequest> Encode(const v0::LogSettings& settings);

  /// INVALID_ARGUMENT for files without a configuration, which servers refuse.
  static absl::StatusOr<open_inference::RepositoryModelLoadRequest> LoadRequest(const std::string& model,
                                                                                const LoadOptions& options);
  static absl::StatusOr<open_inference::RepositoryModelUnloadRequest> UnloadRequest(const std::string& model,
                                                                                    const UnloadOptions& options);
  static absl::Status Decode(open_inference::RepositoryModelLoadResponse&&) { return absl::OkStatus(); }
  static absl::Status Decode(open_inference::RepositoryModelUnloadResponse&&) { return absl::OkStatus(); }
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/open_inference_admin.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_ADMIN_H_
