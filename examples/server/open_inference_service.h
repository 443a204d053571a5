// SPDX-License-Identifier: Apache-2.0
//
// inference.GRPCInferenceService, the Open Inference Protocol, over the example models.
#ifndef INFERWIRE_EXAMPLES_SERVER_OPEN_INFERENCE_SERVICE_H_
#define INFERWIRE_EXAMPLES_SERVER_OPEN_INFERENCE_SERVICE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/grpcpp.h>

#include <string>

#include "open_inference_public.grpc.pb.h"
#include "server/models.h"

namespace inferwire::examples {

class OpenInferenceService final : public inference::GRPCInferenceService::Service {
 public:
  /// `models` outlives the service.
  explicit OpenInferenceService(const ModelSet& models) : models_(models) {}

  grpc::Status ServerLive(grpc::ServerContext* context, const inference::ServerLiveRequest* request,
                          inference::ServerLiveResponse* response) override;
  grpc::Status ServerReady(grpc::ServerContext* context, const inference::ServerReadyRequest* request,
                           inference::ServerReadyResponse* response) override;
  grpc::Status ModelReady(grpc::ServerContext* context, const inference::ModelReadyRequest* request,
                          inference::ModelReadyResponse* response) override;
  grpc::Status ServerMetadata(grpc::ServerContext* context, const inference::ServerMetadataRequest* request,
                              inference::ServerMetadataResponse* response) override;
  grpc::Status ModelMetadata(grpc::ServerContext* context, const inference::ModelMetadataRequest* request,
                             inference::ModelMetadataResponse* response) override;
  grpc::Status ModelInfer(grpc::ServerContext* context, const inference::ModelInferRequest* request,
                          inference::ModelInferResponse* response) override;

 private:
  absl::StatusOr<const Model*> Find(const std::string& name, const std::string& version) const;
  absl::Status Infer(const inference::ModelInferRequest& request, inference::ModelInferResponse& response) const;

  const ModelSet& models_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_OPEN_INFERENCE_SERVICE_H_
