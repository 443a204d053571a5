// SPDX-License-Identifier: Apache-2.0
//
// Requests to a model that remembers those before: in order, on one stream, and so to one server.
#ifndef INFERWIRE_SEQUENCE_H_
#define INFERWIRE_SEQUENCE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "inferwire/call_options.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model.h"

namespace inferwire {
inline namespace v0 {

/// A sequence of requests to a stateful model: `auto sequence = model.Sequence(42)`, then Step for each request and End
/// for the last one. They travel on a stream of their own, one at a time and in order, to one server, and are never
/// tried again: once one has failed, or its future was dropped, the server's state is unknown, and all later ones are
/// FAILED_PRECONDITION. Begin a new sequence then. Dropping a sequence that has not ended closes its stream; what the
/// server remembers of it, the server forgets by its own rules. Move-only; one thread at a time.
class [[nodiscard]] Sequence {
 public:
  /// As Model::Sequence. Where the contract has no streams to share, each step is UNIMPLEMENTED.
  Sequence(Model model, decltype(SequenceStep::id) id);
  Sequence(Sequence&&) noexcept = default;
  Sequence& operator=(Sequence&&) noexcept = default;

  /// Sends a request and waits for its answer. The first one begins the sequence.
  absl::StatusOr<InferResult> Step(InferRequest request, CallOptions options = {}) {
    return AsyncStep(std::move(request), std::move(options)).Get();
  }
  /// The last request, which ends the sequence.
  absl::StatusOr<InferResult> End(InferRequest request, CallOptions options = {}) {
    return AsyncEnd(std::move(request), std::move(options)).Get();
  }

  /// As futures. FAILED_PRECONDITION while another is under way.
  Future<InferResult> AsyncStep(InferRequest request, CallOptions options = {}) {
    return Send(std::move(request), std::move(options), /*end=*/false);
  }
  Future<InferResult> AsyncEnd(InferRequest request, CallOptions options = {}) {
    return Send(std::move(request), std::move(options), /*end=*/true);
  }

 private:
  enum class State { kNew, kIdle, kBusy, kBroken, kEnded };

  Future<InferResult> Send(InferRequest request, CallOptions options, bool end);
  class Turn;
  absl::Status MayGo(State state, const CallOptions& options) const;
  std::string Name() const;

  Model model_;
  decltype(SequenceStep::id) id_;
  detail::Ref<detail::engine::StreamMux> stream_;  // null where the contract has none
  std::shared_ptr<std::atomic<State>> state_;      // of the futures too
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/sequence.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_SEQUENCE_H_
