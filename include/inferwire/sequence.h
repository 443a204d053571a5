// SPDX-License-Identifier: Apache-2.0
//
// Requests to a model that remembers those before: in order, on one stream, and so to one server.
#ifndef INFERWIRE_SEQUENCE_H_
#define INFERWIRE_SEQUENCE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "inferwire/call_options.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/ref.h"
#include "inferwire/detail/text.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {

/// A sequence of requests to a stateful model: `auto sequence = model.Sequence(42)`, then Step for each request and End
/// for the last one. They travel on a stream of their own, one at a time and in order, to one server, and are never
/// tried again: once one has failed, or its future was dropped, the server's state is unknown, and all later ones are
/// FAILED_PRECONDITION. Begin a new sequence then. Dropping a sequence that has not ended closes its stream; what the
/// server remembers of it, the server forgets by its own rules. Move-only; one thread at a time.
template <Contract C>
class [[nodiscard]] Sequence {
 public:
  Sequence(Model<C> model, decltype(SequenceStep::id) id)
      : model_(std::move(model)),
        id_(std::move(id)),
        stream_(detail::ShareStreams<C>(model_.client(), /*once=*/true)),
        state_(std::make_shared<std::atomic<State>>(State::kNew)) {}
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

  Future<InferResult> Send(InferRequest request, CallOptions options, bool end) {
    const State before = state_->load();
    if (absl::Status status = MayGo(before, options); !status.ok()) {
      return MakeReadyFuture<InferResult>(std::move(status));
    }
    request.set_sequence({id_, before == State::kNew, end});
    Client::Raw raw = model_.Shared(request, stream_, model_.StreamGate(request, options));
    if (!raw.request.ok()) return MakeReadyFuture<InferResult>(raw.request.status());  // nothing was sent
    state_->store(State::kBusy);
    options.idempotent = false;
    return model_.client()
        .template AsyncAs<InferResult>(std::move(raw), detail::DecodeStreamed<C, true>, std::move(options))
        .Then([turn = Turn(state_, before), end,
               buffers = request.output_buffers()](absl::StatusOr<InferResult> result) mutable {
          turn.End(result.status(), end ? State::kEnded : State::kIdle);
          detail::Deliver(result, buffers);
          return result;
        });
  }

  // A step under way, which leaves the sequence broken unless it has ended: whoever drops its future drops this.
  class Turn {
   public:
    Turn(std::shared_ptr<std::atomic<State>> state, State before) : state_(std::move(state)), before_(before) {}
    Turn(Turn&&) noexcept = default;
    Turn& operator=(Turn&&) = delete;
    ~Turn() {
      if (state_ != nullptr) state_->store(State::kBroken);
    }
    void End(const absl::Status& status, State next) {
      const bool sent = status.ok() || !InfoOf(status).attempts.empty();
      std::exchange(state_, nullptr)->store(status.ok() ? next : sent ? State::kBroken : before_);
    }

   private:
    std::shared_ptr<std::atomic<State>> state_;
    State before_;
  };

  absl::Status MayGo(State state, const CallOptions& options) const {
    if (!SequenceStep{id_}.has_id()) {
      return detail::InvalidArgumentError("a sequence's id is 0 or empty, which means that there is none");
    }
    if (detail::HasOwnHeaders(options)) {
      return detail::InvalidArgumentError(
          "a step of a sequence has no headers of its own: metadata, token, compression and parent are the client's");
    }
    if (absl::Status status = detail::ValidateLimits(options); !status.ok()) return status;
    switch (state) {
      case State::kNew:
      case State::kIdle:
        return absl::OkStatus();
      case State::kBusy:
        return detail::FailedPreconditionError(
            detail::Cat("sequence ", Name(), ": the step before has no answer yet, and steps go one at a time"));
      case State::kBroken:
        return detail::FailedPreconditionError(
            detail::Cat("sequence ", Name(),
                        ": a step has failed or was dropped, and what the server remembers is "
                        "unknown; begin a new sequence"));
      case State::kEnded:
        break;
    }
    return detail::FailedPreconditionError(detail::Cat("sequence ", Name(), " has ended"));
  }
  std::string Name() const {
    const auto* const number = std::get_if<std::int64_t>(&id_);
    return number != nullptr ? detail::Cat(*number) : detail::Cat("'", std::get<std::string>(id_), "'");
  }

  Model<C> model_;
  decltype(SequenceStep::id) id_;
  detail::Ref<engine::Carrier> stream_;
  std::shared_ptr<std::atomic<State>> state_;  // of the futures too
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_SEQUENCE_H_
