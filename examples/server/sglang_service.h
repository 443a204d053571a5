// SPDX-License-Identifier: Apache-2.0
//
// sglang.runtime.v1.SglangService over the storyteller and the embedding of n-grams.
#ifndef INFERWIRE_EXAMPLES_SERVER_SGLANG_SERVICE_H_
#define INFERWIRE_EXAMPLES_SERVER_SGLANG_SERVICE_H_

#include <absl/status/status.h>
#include <grpcpp/grpcpp.h>

#include <chrono>

#include "server/running.h"
#include "server/storyteller.h"
#include "sglang_public.grpc.pb.h"

namespace inferwire::examples {

/// As SGLang does it, for text. Also without `stream` answers come token by token, each with all text so far; those of
/// conversations, which the last message of the user decides alone, have what is new.
class SglangService final : public ::sglang::runtime::v1::SglangService::Service {
 public:
  /// `teller` and `running` outlive the service. Tokens are `delay` apart.
  SglangService(const Storyteller& teller, Running& running, std::chrono::milliseconds delay)
      : teller_(teller), running_(running), delay_(delay) {}

  grpc::Status TextGenerate(grpc::ServerContext* context, const ::sglang::runtime::v1::TextGenerateRequest* request,
                            grpc::ServerWriter<::sglang::runtime::v1::TextGenerateResponse>* writer) override;
  grpc::Status ChatComplete(grpc::ServerContext* context, const ::sglang::runtime::v1::OpenAIRequest* request,
                            grpc::ServerWriter<::sglang::runtime::v1::OpenAIStreamChunk>* writer) override;
  grpc::Status TextEmbed(grpc::ServerContext* context, const ::sglang::runtime::v1::TextEmbedRequest* request,
                         ::sglang::runtime::v1::TextEmbedResponse* response) override;
  grpc::Status Tokenize(grpc::ServerContext* context, const ::sglang::runtime::v1::TokenizeRequest* request,
                        ::sglang::runtime::v1::TokenizeResponse* response) override;
  grpc::Status Abort(grpc::ServerContext* context, const ::sglang::runtime::v1::AbortRequest* request,
                     ::sglang::runtime::v1::AbortResponse* response) override;

 private:
  absl::Status Generate(grpc::ServerContext& context, const ::sglang::runtime::v1::TextGenerateRequest& request,
                        grpc::ServerWriter<::sglang::runtime::v1::TextGenerateResponse>& writer) const;
  absl::Status Chat(grpc::ServerContext& context, const ::sglang::runtime::v1::OpenAIRequest& request,
                    grpc::ServerWriter<::sglang::runtime::v1::OpenAIStreamChunk>& writer) const;

  const Storyteller& teller_;
  Running& running_;
  const std::chrono::milliseconds delay_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_SGLANG_SERVICE_H_
