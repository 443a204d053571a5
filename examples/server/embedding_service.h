// SPDX-License-Identifier: Apache-2.0
//
// tei.v1, Text Embeddings Inference, over the embedding of n-grams.
#ifndef INFERWIRE_EXAMPLES_SERVER_EMBEDDING_SERVICE_H_
#define INFERWIRE_EXAMPLES_SERVER_EMBEDDING_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "tei_public.grpc.pb.h"

namespace inferwire::examples {

class EmbeddingInfoService final : public ::tei::v1::Info::Service {
 public:
  grpc::Status Info(grpc::ServerContext* context, const ::tei::v1::InfoRequest* request,
                    ::tei::v1::InfoResponse* response) override;
};

class EmbeddingService final : public ::tei::v1::Embed::Service {
 public:
  grpc::Status Embed(grpc::ServerContext* context, const ::tei::v1::EmbedRequest* request,
                     ::tei::v1::EmbedResponse* response) override;
  /// Of each word's number 1 + ln of how often it comes.
  grpc::Status EmbedSparse(grpc::ServerContext* context, const ::tei::v1::EmbedSparseRequest* request,
                           ::tei::v1::EmbedSparseResponse* response) override;
};

/// By cosine similarity, which without raw_scores is moved to 0 to 1. Unlike Text Embeddings Inference's, this server
/// embeds and ranks.
class RerankService final : public ::tei::v1::Rerank::Service {
 public:
  grpc::Status Rerank(grpc::ServerContext* context, const ::tei::v1::RerankRequest* request,
                      ::tei::v1::RerankResponse* response) override;
};

class TokenizeService final : public ::tei::v1::Tokenize::Service {
 public:
  grpc::Status Tokenize(grpc::ServerContext* context, const ::tei::v1::EncodeRequest* request,
                        ::tei::v1::EncodeResponse* response) override;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_EMBEDDING_SERVICE_H_
