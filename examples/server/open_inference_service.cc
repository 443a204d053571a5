// SPDX-License-Identifier: Apache-2.0
#include "server/open_inference_service.h"

#include <absl/strings/str_cat.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/version.h"
#include "server/open_inference_request.h"
#include "server/open_inference_stream.h"
#include "server/status.h"
#include "server/text.h"

namespace inferwire::examples {
namespace {

using inference::ModelInferRequest;
using inference::ModelInferResponse;

void Describe(const TensorSpec& spec, inference::ModelMetadataResponse::TensorMetadata& metadata) {
  metadata.set_name(spec.name);
  // A model that takes anything has to name something: metadata knows no "any".
  metadata.set_datatype(spec.datatypes.empty() ? "FP32" : spec.datatypes.front());
  metadata.mutable_shape()->Assign(spec.shape.begin(), spec.shape.end());
}

template <class Tensor>
void Configure(const TensorSpec& spec, Tensor& tensor) {
  static constexpr std::pair<const char*, inference::DataType> kTypes[] = {{"FP32", inference::TYPE_FP32},
                                                                           {"INT32", inference::TYPE_INT32},
                                                                           {"INT64", inference::TYPE_INT64},
                                                                           {"BYTES", inference::TYPE_STRING}};
  const std::string datatype = spec.datatypes.empty() ? "FP32" : spec.datatypes.front();
  const auto* const type =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& row) { return row.first == datatype; });
  tensor.set_name(spec.name);
  tensor.set_data_type(type->second);
  tensor.mutable_dims()->Assign(spec.shape.begin(), spec.shape.end());
}

// Models come from files that only a restart reads again.
template <class Parameters>
absl::Status RefuseParameters(const Parameters& parameters) {
  if (parameters.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the parameter ", Quote(parameters.begin()->first), " is not offered by this server"));
}

}  // namespace

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
  const auto model = repository_.Find(std::string(request->name()), std::string(request->version()));
  if (!model.ok()) return ToGrpc(model.status());
  response->set_ready(true);
  return grpc::Status();
}

grpc::Status OpenInferenceService::ServerMetadata(grpc::ServerContext*, const inference::ServerMetadataRequest*,
                                                  inference::ServerMetadataResponse* response) {
  response->set_name("inferwire-server");
  response->set_version(INFERWIRE_VERSION);
  for (const char* extension : {"sequence", "sequence(string_id)", "model_repository", "model_configuration",
                                "system_shared_memory", "binary_tensor_data", "parameters", "statistics"}) {
    response->add_extensions(extension);
  }
  return grpc::Status();
}

grpc::Status OpenInferenceService::ModelMetadata(grpc::ServerContext*, const inference::ModelMetadataRequest* request,
                                                 inference::ModelMetadataResponse* response) {
  const auto model = repository_.Find(std::string(request->name()), std::string(request->version()));
  if (!model.ok()) return ToGrpc(model.status());
  const ModelSpec& spec = (*model)->spec();
  response->set_name(spec.name);
  response->add_versions(Repository::kVersion);
  response->set_platform(spec.platform);
  for (const TensorSpec& input : spec.inputs) Describe(input, *response->add_inputs());
  for (const TensorSpec& output : spec.outputs) Describe(output, *response->add_outputs());
  return grpc::Status();
}

absl::Status OpenInferenceService::Infer(const ModelInferRequest& message, ModelInferResponse& answer) {
  const auto model = repository_.Find(std::string(message.model_name()), std::string(message.model_version()));
  if (!model.ok()) return model.status();
  const auto start = std::chrono::steady_clock::now();
  absl::Status status = [&] {
    absl::StatusOr<OpenInferenceRequest> request = OpenInferenceRequest::Read(message, **model, shared_memory_);
    if (!request.ok()) return request.status();
    absl::StatusOr<std::vector<Tensor>> outputs = (*model)->Infer(request->inputs(), request->step());
    return outputs.ok() ? request->Write(*std::move(outputs), answer) : outputs.status();
  }();
  repository_.Count((*model)->spec().name, status.ok(), std::chrono::steady_clock::now() - start);
  return status;
}

grpc::Status OpenInferenceService::ModelInfer(grpc::ServerContext*, const ModelInferRequest* request,
                                              ModelInferResponse* response) {
  return ToGrpc(Infer(*request, *response));
}

grpc::Status OpenInferenceService::ModelStreamInfer(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<inference::ModelStreamInferResponse, ModelInferRequest>* stream) {
  return ToGrpc(OpenInferenceStream(*context, *stream, repository_, shared_memory_, delay_).Run());
}

grpc::Status OpenInferenceService::ModelConfig(grpc::ServerContext*, const inference::ModelConfigRequest* request,
                                               inference::ModelConfigResponse* response) {
  const auto model = repository_.Find(std::string(request->name()), std::string(request->version()));
  if (!model.ok()) return ToGrpc(model.status());
  const ModelSpec& spec = (*model)->spec();
  inference::ModelConfig& config = *response->mutable_config();
  config.set_name(spec.name);
  config.set_platform(spec.platform);
  for (const TensorSpec& input : spec.inputs) {
    auto& tensor = *config.add_input();
    Configure(input, tensor);
    tensor.set_optional(input.optional);
  }
  for (const TensorSpec& output : spec.outputs) Configure(output, *config.add_output());
  if (spec.decoupled) config.mutable_model_transaction_policy()->set_decoupled(true);
  if (spec.sequence) config.mutable_sequence_batching();
  return grpc::Status();
}

grpc::Status OpenInferenceService::ModelStatistics(grpc::ServerContext*,
                                                   const inference::ModelStatisticsRequest* request,
                                                   inference::ModelStatisticsResponse* response) {
  if (!request->name().empty()) {
    const auto model = repository_.Find(std::string(request->name()), std::string(request->version()));
    if (!model.ok()) return ToGrpc(model.status());
  }
  for (const Repository::Entry& entry : repository_.Index()) {
    if (!entry.loaded || (!request->name().empty() && entry.model->spec().name != std::string_view(request->name()))) {
      continue;
    }
    const Repository::Statistics& counts = entry.statistics;
    auto& model = *response->add_model_stats();
    model.set_name(entry.model->spec().name);
    model.set_version(Repository::kVersion);
    const auto last = std::chrono::duration_cast<std::chrono::milliseconds>(counts.last.time_since_epoch());
    model.set_last_inference(static_cast<std::uint64_t>(last.count()));
    model.set_inference_count(counts.succeeded);
    model.set_execution_count(counts.succeeded);
    auto& times = *model.mutable_inference_stats();
    times.mutable_success()->set_count(counts.succeeded);
    times.mutable_success()->set_ns(static_cast<std::uint64_t>(counts.success_time.count()));
    times.mutable_fail()->set_count(counts.failed);
    times.mutable_fail()->set_ns(static_cast<std::uint64_t>(counts.fail_time.count()));
  }
  return grpc::Status();
}

grpc::Status OpenInferenceService::RepositoryIndex(grpc::ServerContext*,
                                                   const inference::RepositoryIndexRequest* request,
                                                   inference::RepositoryIndexResponse* response) {
  for (const Repository::Entry& entry : repository_.Index()) {
    if (request->ready() && !entry.loaded) continue;
    auto& model = *response->add_models();
    model.set_name(entry.model->spec().name);
    model.set_version(Repository::kVersion);
    model.set_state(entry.loaded ? "READY" : "UNAVAILABLE");
    if (!entry.loaded) model.set_reason("unloaded");
  }
  return grpc::Status();
}

grpc::Status OpenInferenceService::RepositoryModelLoad(grpc::ServerContext*,
                                                       const inference::RepositoryModelLoadRequest* request,
                                                       inference::RepositoryModelLoadResponse*) {
  if (absl::Status status = RefuseParameters(request->parameters()); !status.ok()) return ToGrpc(status);
  return ToGrpc(repository_.SetLoaded(std::string(request->model_name()), true));
}

grpc::Status OpenInferenceService::RepositoryModelUnload(grpc::ServerContext*,
                                                         const inference::RepositoryModelUnloadRequest* request,
                                                         inference::RepositoryModelUnloadResponse*) {
  return ToGrpc(repository_.SetLoaded(std::string(request->model_name()), false));
}

grpc::Status OpenInferenceService::SystemSharedMemoryStatus(grpc::ServerContext*,
                                                            const inference::SystemSharedMemoryStatusRequest* request,
                                                            inference::SystemSharedMemoryStatusResponse* response) {
  const auto regions = shared_memory_.Status(std::string(request->name()));
  if (!regions.ok()) return ToGrpc(regions.status());
  for (const auto& [name, region] : *regions) {
    auto& status = (*response->mutable_regions())[name];
    status.set_name(name);
    status.set_key(region.key);
    status.set_offset(region.offset);
    status.set_byte_size(region.byte_size);
  }
  return grpc::Status();
}

grpc::Status OpenInferenceService::SystemSharedMemoryRegister(
    grpc::ServerContext*, const inference::SystemSharedMemoryRegisterRequest* request,
    inference::SystemSharedMemoryRegisterResponse*) {
  return ToGrpc(shared_memory_.Register(std::string(request->name()), std::string(request->key()), request->offset(),
                                        request->byte_size()));
}

grpc::Status OpenInferenceService::SystemSharedMemoryUnregister(
    grpc::ServerContext*, const inference::SystemSharedMemoryUnregisterRequest* request,
    inference::SystemSharedMemoryUnregisterResponse*) {
  shared_memory_.Unregister(std::string(request->name()));
  return grpc::Status();
}

}  // namespace inferwire::examples
