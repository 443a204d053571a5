// SPDX-License-Identifier: Apache-2.0
//
// Text Embeddings Inference, tei.v1.
#ifndef INFERWIRE_CONTRACT_TEI_H_
#define INFERWIRE_CONTRACT_TEI_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/contract/contract.h"
#include "inferwire/contract/tei.grpc.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/embedding.h"  // IWYU pragma: export
#include "inferwire/embedding_types.h"

namespace inferwire {
inline namespace v0 {

/// tei.v1. One text a call; rerankers take EmbeddingOptions::max_batch of them, of which servers allow 32 by default. A
/// key is a bearer token (ClientOptions::token). A server has one model, which is of one kind: another kind's method is
/// FAILED_PRECONDITION. Read from TEI 1.8.
struct TextEmbeddings {
  static constexpr std::string_view kName = "tei";
  using Texts = std::vector<std::string>;

  static absl::Status CheckOptions(const EmbeddingOptions& options) {
    if (options.model.empty()) return absl::OkStatus();
    return detail::InvalidArgumentError(
        detail::Cat("the contract tei cannot carry model, but '", options.model, "' was given"));
  }

  struct EmbedForm {
    using Method = Rpc<&tei::Embed::Stub::Embed, "tei.v1.Embed">;
    static absl::StatusOr<tei::EmbedRequest> Encode(const Texts& texts, const EmbeddingOptions& options) {
      tei::EmbedRequest out;
      out.set_inputs(texts.front());
      out.set_truncate(options.truncate);
      if (options.normalize.has_value()) out.set_normalize(*options.normalize);
      if (!options.prompt_name.empty()) out.set_prompt_name(options.prompt_name);
      if (options.dimensions.has_value()) out.set_dimensions(static_cast<std::uint32_t>(*options.dimensions));
      return out;
    }
    static absl::Status Decode(tei::EmbedResponse&& response, std::vector<std::vector<float>>& out) {
      out.emplace_back(response.embeddings().begin(), response.embeddings().end());
      return absl::OkStatus();
    }
  };

  struct EmbedSparseForm {
    using Method = Rpc<&tei::Embed::Stub::EmbedSparse, "tei.v1.Embed">;
    static absl::StatusOr<tei::EmbedSparseRequest> Encode(const Texts& texts, const EmbeddingOptions& options) {
      tei::EmbedSparseRequest out;
      out.set_inputs(texts.front());
      out.set_truncate(options.truncate);
      if (!options.prompt_name.empty()) out.set_prompt_name(options.prompt_name);
      return out;
    }
    static absl::Status Decode(tei::EmbedSparseResponse&& response, std::vector<SparseEmbedding>& out) {
      SparseEmbedding& one = out.emplace_back();
      one.reserve(static_cast<std::size_t>(response.sparse_embeddings_size()));
      for (const auto& term : response.sparse_embeddings()) one.push_back({term.index(), term.value()});
      return absl::OkStatus();
    }
  };

  struct EmbedTokensForm {
    using Method = Rpc<&tei::Embed::Stub::EmbedAll, "tei.v1.Embed">;
    static absl::StatusOr<tei::EmbedAllRequest> Encode(const Texts& texts, const EmbeddingOptions& options) {
      tei::EmbedAllRequest out;
      out.set_inputs(texts.front());
      out.set_truncate(options.truncate);
      if (!options.prompt_name.empty()) out.set_prompt_name(options.prompt_name);
      return out;
    }
    static absl::Status Decode(tei::EmbedAllResponse&& response, std::vector<Embeddings>& out) {
      std::vector<float> values;
      std::size_t dimensions = 0;
      for (const auto& token : response.token_embeddings()) {
        const auto size = static_cast<std::size_t>(token.embeddings_size());
        if (size == 0 || (dimensions != 0 && size != dimensions)) {
          return detail::Contradiction(
              detail::Cat("a token's vector has ", size, " dimensions, and another one's ", dimensions));
        }
        dimensions = size;
        values.insert(values.end(), token.embeddings().begin(), token.embeddings().end());
      }
      out.emplace_back(std::move(values), dimensions);
      return absl::OkStatus();
    }
  };

  struct ClassifyForm {
    using Method = Rpc<&tei::Predict::Stub::Predict, "tei.v1.Predict">;
    static absl::StatusOr<tei::PredictRequest> Encode(const Texts& texts, const EmbeddingOptions& options) {
      tei::PredictRequest out;
      out.set_inputs(texts.front());
      out.set_truncate(options.truncate);
      out.set_raw_scores(options.raw_scores);
      return out;
    }
    static absl::Status Decode(tei::PredictResponse&& response, std::vector<std::vector<ClassScore>>& out) {
      std::vector<ClassScore>& one = out.emplace_back();
      for (const auto& prediction : response.predictions()) {
        one.push_back({std::string(prediction.label()), prediction.score()});
      }
      return absl::OkStatus();
    }
  };

  struct TokenizeForm {
    using Method = Rpc<&tei::Tokenize::Stub::Tokenize, "tei.v1.Tokenize">;
    static absl::StatusOr<tei::EncodeRequest> Encode(const Texts& texts, const EmbeddingOptions& options) {
      tei::EncodeRequest out;
      out.set_inputs(texts.front());
      out.set_add_special_tokens(true);
      if (!options.prompt_name.empty()) out.set_prompt_name(options.prompt_name);
      return out;
    }
    static absl::Status Decode(tei::EncodeResponse&& response, std::vector<std::vector<TextToken>>& out) {
      std::vector<TextToken>& one = out.emplace_back();
      for (auto& token : *response.mutable_tokens()) {
        one.push_back({static_cast<std::int32_t>(token.id()), std::move(*token.mutable_text()), token.special()});
      }
      return absl::OkStatus();
    }
  };

  struct RerankForm {
    using Method = Rpc<&tei::Rerank::Stub::Rerank, "tei.v1.Rerank">;
    static absl::StatusOr<tei::RerankRequest> Encode(const std::string& query, const Texts& texts,
                                                     const EmbeddingOptions& options) {
      tei::RerankRequest out;
      out.set_query(query);
      for (const std::string& text : texts) out.add_texts(text);
      out.set_truncate(options.truncate);
      out.set_raw_scores(options.raw_scores);
      return out;
    }
    static absl::Status Decode(tei::RerankResponse&& response, std::vector<Ranked>& out) {
      for (const auto& rank : response.ranks()) out.push_back({rank.index(), rank.score()});
      return absl::OkStatus();
    }
  };
};
static_assert(EmbeddingContract<TextEmbeddings>);
template <>
inline constexpr bool kBuiltIn<TextEmbeddings> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_TEI_H_
