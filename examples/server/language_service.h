// SPDX-License-Identifier: Apache-2.0
//
// vllm.Inference and vllm.Control over the storyteller.
#ifndef INFERWIRE_EXAMPLES_SERVER_LANGUAGE_SERVICE_H_
#define INFERWIRE_EXAMPLES_SERVER_LANGUAGE_SERVICE_H_

#include <absl/status/status.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>

#include "server/running.h"
#include "server/storyteller.h"
#include "vllm_public.grpc.pb.h"

namespace inferwire::examples {

/// As vLLM does it, for text. What it cannot do (token ids, several sequences, structure, log probabilities, adapters)
/// is refused; how tokens are sampled is the storyteller's own business.
class LanguageService final : public ::vllm::Inference::Service {
 public:
  /// `teller` and `running` outlive the service. Tokens are `delay` apart.
  LanguageService(const Storyteller& teller, Running& running, std::chrono::milliseconds delay)
      : teller_(teller), running_(running), delay_(delay) {}

  grpc::Status Generate(grpc::ServerContext* context, const ::vllm::GenerateRequest* request,
                        ::vllm::GenerateResponse* response) override;
  grpc::Status GenerateStream(grpc::ServerContext* context, const ::vllm::GenerateRequest* request,
                              grpc::ServerWriter<::vllm::GenerateResponse>* writer) override;

 private:
  absl::Status Run(grpc::ServerContext& context, const ::vllm::GenerateRequest& request,
                   const std::function<bool(const ::vllm::GenerateResponse&)>& send) const;

  const Storyteller& teller_;
  Running& running_;
  const std::chrono::milliseconds delay_;
};

class LanguageControlService final : public ::vllm::Control::Service {
 public:
  /// `running` outlives the service.
  explicit LanguageControlService(Running& running) : running_(running) {}

  grpc::Status Abort(grpc::ServerContext* context, const ::vllm::AbortRequest* request,
                     ::vllm::AbortResponse* response) override;
  grpc::Status GetModelInfo(grpc::ServerContext* context, const ::vllm::GetModelInfoRequest* request,
                            ::vllm::ModelInfo* response) override;

 private:
  Running& running_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_LANGUAGE_SERVICE_H_
