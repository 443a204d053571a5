// SPDX-License-Identifier: Apache-2.0
//
// inference.Inference, the project's own contract, over the example models.
#ifndef INFERWIRE_EXAMPLES_SERVER_SIMPLE_SERVICE_H_
#define INFERWIRE_EXAMPLES_SERVER_SIMPLE_SERVICE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string>
#include <utility>

#include "inferwire/inference.grpc.pb.h"
#include "server/models.h"

namespace inferwire::examples {

class SimpleService final : public inference::Inference::Service {
 public:
  /// `models` outlives the service. A story's tokens are `token_delay` apart.
  SimpleService(const ModelSet& models, std::string default_model, std::chrono::milliseconds token_delay)
      : models_(models), default_model_(std::move(default_model)), token_delay_(token_delay) {}

  grpc::Status RunInference(grpc::ServerContext* context, const inference::Request* request,
                            inference::Response* response) override;
  grpc::Status StreamInference(grpc::ServerContext* context, const inference::Request* request,
                               grpc::ServerWriter<inference::Response>* writer) override;
  grpc::Status UploadInference(grpc::ServerContext* context, grpc::ServerReader<inference::Request>* reader,
                               inference::Response* response) override;
  grpc::Status Converse(grpc::ServerContext* context,
                        grpc::ServerReaderWriter<inference::Response, inference::Request>* stream) override;

 private:
  class Accumulator;

  /// The name that answers a request for `name`: itself, or the default when it is empty. NOT_FOUND for others.
  absl::StatusOr<std::string> Resolve(const std::string& name) const;

  absl::Status Run(const inference::Request& request, inference::Response& response) const;
  absl::Status Stream(grpc::ServerContext& context, const inference::Request& request,
                      grpc::ServerWriter<inference::Response>& writer) const;

  const ModelSet& models_;
  const std::string default_model_;
  const std::chrono::milliseconds token_delay_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_SIMPLE_SERVICE_H_
