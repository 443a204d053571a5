// SPDX-License-Identifier: Apache-2.0
//
// Language models, whatever the contract: text as a whole, and as it comes.
#ifndef INFERWIRE_GENERATION_H_
#define INFERWIRE_GENERATION_H_

#include <absl/base/attributes.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/client_options.h"
#include "inferwire/contract/generation_contract.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/contract/generation_table.h"
#include "inferwire/embedding.h"  // IWYU pragma: export
#include "inferwire/future.h"
#include "inferwire/generation_types.h"
#include "inferwire/stats.h"
#include "inferwire/task.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
struct GenerationState;
}  // namespace detail

/// A generation as it comes: an input range of deltas, and Next for coroutines. Move-only; one reader at a time.
/// Dropping it, or leaving a loop over one that nobody keeps, cancels the call, and the engine stops.
class [[nodiscard]] GenerationStream {
 public:
  using value_type = GenerationDelta;

  class Iterator {
   public:
    using value_type = GenerationDelta;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    Iterator() = default;
    GenerationDelta& operator*() const { return *stream_->current_; }
    GenerationDelta* operator->() const { return &*stream_->current_; }
    Iterator& operator++() {
      stream_->current_ = stream_->Read();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) { return it.AtEnd(); }

   private:
    friend GenerationStream;
    bool AtEnd() const { return !stream_->current_.has_value(); }
    explicit Iterator(GenerationStream* stream) : stream_(stream) {}
    GenerationStream* stream_ = nullptr;
  };

  GenerationStream(GenerationStream&&) noexcept;
  GenerationStream& operator=(GenerationStream&&) noexcept;
  ~GenerationStream();

  /// Blocks for the next delta; after a break, a second loop goes on behind it.
  Iterator begin() & {
    current_ = Read();
    return Iterator(this);
  }
  Iterator begin() && = delete;
  std::default_sentinel_t end() const { return std::default_sentinel; }

  /// Waits for the next delta; none at the end.
  std::optional<GenerationDelta> Read();
  /// The same for a coroutine. The stream may be moved meanwhile; where it is dropped, the wait ends with none.
  Task<std::optional<GenerationDelta>> Next();

  // As the reader has it, and for its thread alone, but for Cancel.

  /// OK while it runs, and then the final status: also of an error that the server told in a message.
  absl::Status status() const;
  /// Ends it with CANCELLED; the engine stops. Does not block.
  void Cancel();
  /// Cancels it if it still runs, and gives its final status.
  absl::Status Finish();

  /// What the server has told so far.
  GenerationUsage usage() const;
  /// Time to the first token, gaps, tokens a second.
  GenerationStats stats() const;

 private:
  friend class AnyGenerationClient;
  explicit GenerationStream(std::shared_ptr<detail::GenerationState> state);

  std::shared_ptr<detail::GenerationState> state_;  // a coroutine that waits in Next has it too
  std::optional<GenerationDelta> current_;
};

/// A server of language models, whatever it speaks: for programs that choose the contract when they run. A cheap
/// handle, like the Client it holds; safe from any number of threads. INVALID_ARGUMENT, naming the field and the
/// contract, for what that cannot carry; other errors are the server's, and those of Client.
class AnyGenerationClient {
 public:
  /// Speaks a contract over a client that exists already.
  template <GenerationContract C>
  static AnyGenerationClient Of(Client client) {
    return AnyGenerationClient(detail::GenerationTableOf<C>::Get(), std::move(client));
  }

  /// Blocks until all is there. The time that it may take is CallOptions::timeout, else ClientOptions::stream_timeout.
  absl::StatusOr<Generation> Generate(GenerationRequest request, GenerationOptions options = {},
                                      CallOptions call = {}) const;
  /// Returns at once; the future has the whole generation. Dropping it cancels, and the engine stops.
  Future<Generation> AsyncGenerate(GenerationRequest request, GenerationOptions options = {},
                                   CallOptions call = {}) const;
  /// Text as it comes. Tried again as unary calls are, until the first message; with GenerationOptions::resume also
  /// after it.
  GenerationStream StreamGenerate(GenerationRequest request, GenerationOptions options = {},
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
  AnyGenerationClient(const detail::GenerationTable& table, Client client)
      : table_(&table), client_(std::move(client)) {}

 private:
  GenerationStream Open(GenerationRequest request, GenerationOptions options, CallOptions call, bool streams) const;

  const detail::GenerationTable* table_;
  Client client_;
};

/// A server of language models that speaks contract C.
template <GenerationContract C>
class GenerationClient : public AnyGenerationClient {
 public:
  /// As Client::Create.
  static absl::StatusOr<GenerationClient> Create(ClientOptions options) {
    absl::StatusOr<Client> client = Client::Create(std::move(options));
    if (!client.ok()) return client.status();
    return GenerationClient(*std::move(client));
  }
  /// Speaks C over a client that exists already.
  explicit GenerationClient(Client client)
      : AnyGenerationClient(detail::GenerationTableOf<C>::Get(), std::move(client)) {}
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/generation.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_GENERATION_H_
