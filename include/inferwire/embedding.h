// SPDX-License-Identifier: Apache-2.0
//
// Embeddings, reranking and classification of texts, whatever the contract.
#ifndef INFERWIRE_EMBEDDING_H_
#define INFERWIRE_EMBEDDING_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <concepts>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/client_options.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/contract/embedding_table.h"
#include "inferwire/embedding_types.h"
#include "inferwire/future.h"
#include "inferwire/stats.h"

namespace inferwire {
inline namespace v0 {

/// A server that embeds texts, whatever it speaks: for programs that choose the contract when they run. A cheap handle,
/// like the Client it holds; safe from any number of threads.
///
/// The functions block until all is there, and the Async ones give futures. Texts that the contract takes one at a
/// time, or that are more than EmbeddingOptions::max_batch, go out as several calls, max_in_flight at a time, and come
/// back in order; CallOptions::timeout is for all of them together. The first error is the whole's, and names the text;
/// calls that are under way are cancelled then. UNIMPLEMENTED, naming the contract, for what that has no method for.
class AnyEmbeddingClient {
 public:
  /// Speaks a contract over a client that exists already.
  template <EmbeddingContract C>
  static AnyEmbeddingClient Of(Client client) {
    return AnyEmbeddingClient(detail::EmbeddingTableOf<C>::Get(), std::move(client));
  }

  /// A vector of each text, all of one length.
  absl::StatusOr<Embeddings> Embed(std::vector<std::string> texts, EmbeddingOptions options = {},
                                   CallOptions call = {}) const;
  Future<Embeddings> AsyncEmbed(std::vector<std::string> texts, EmbeddingOptions options = {},
                                CallOptions call = {}) const;
  /// The weights of each text's terms.
  absl::StatusOr<std::vector<SparseEmbedding>> EmbedSparse(std::vector<std::string> texts,
                                                           EmbeddingOptions options = {}, CallOptions call = {}) const;
  /// The vectors of each text's tokens.
  absl::StatusOr<std::vector<Embeddings>> EmbedTokens(std::vector<std::string> texts, EmbeddingOptions options = {},
                                                      CallOptions call = {}) const;
  /// How well each text answers the query, the best first.
  absl::StatusOr<std::vector<Ranked>> Rerank(std::string query, std::vector<std::string> texts,
                                             EmbeddingOptions options = {}, CallOptions call = {}) const;
  Future<std::vector<Ranked>> AsyncRerank(std::string query, std::vector<std::string> texts,
                                          EmbeddingOptions options = {}, CallOptions call = {}) const;
  /// The classes of each text, the likeliest first.
  absl::StatusOr<std::vector<std::vector<ClassScore>>> Classify(std::vector<std::string> texts,
                                                                EmbeddingOptions options = {},
                                                                CallOptions call = {}) const;
  absl::StatusOr<std::vector<std::vector<TextToken>>> Tokenize(std::vector<std::string> texts,
                                                               EmbeddingOptions options = {},
                                                               CallOptions call = {}) const;

  /// As configuration files and tools write the contract.
  std::string_view contract_name() const { return table_->name; }

  // As the Client's that it holds.

  absl::Status WaitUntilReady(absl::Duration timeout) const { return client_.WaitUntilReady(timeout); }
  absl::Status SetTargets(const std::vector<std::string>& targets) const { return client_.SetTargets(targets); }
  ClientStats Stats() const { return client_.Stats(); }
  void Shutdown() const { client_.Shutdown(); }
  const Client& client() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return client_; }

 protected:
  AnyEmbeddingClient(const detail::EmbeddingTable& table, Client client) : table_(&table), client_(std::move(client)) {}

 private:
  const detail::EmbeddingTable* table_;
  Client client_;
};

/// A server that embeds texts and speaks contract C.
template <EmbeddingContract C>
class EmbeddingClient : public AnyEmbeddingClient {
 public:
  /// As Client::Create.
  static absl::StatusOr<EmbeddingClient> Create(ClientOptions options) {
    absl::StatusOr<Client> client = Client::Create(std::move(options));
    if (!client.ok()) return client.status();
    return EmbeddingClient(*std::move(client));
  }
  /// Speaks C over a client that exists already.
  explicit EmbeddingClient(Client client) : AnyEmbeddingClient(detail::EmbeddingTableOf<C>::Get(), std::move(client)) {}
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/embedding.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_EMBEDDING_H_
