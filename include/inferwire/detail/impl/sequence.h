// SPDX-License-Identifier: Apache-2.0
//
// How the steps of a sequence follow one another.
#ifndef INFERWIRE_DETAIL_IMPL_SEQUENCE_H_
#define INFERWIRE_DETAIL_IMPL_SEQUENCE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "inferwire/call_options.h"
#include "inferwire/client.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model.h"
#include "inferwire/sequence.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {

INFERWIRE_DECL v0::Sequence Model::Sequence(decltype(SequenceStep::id) id) const {
  return v0::Sequence(*this, std::move(id));
}

INFERWIRE_DECL Sequence::Sequence(Model model, decltype(SequenceStep::id) id)
    : model_(std::move(model)), id_(std::move(id)), state_(std::make_shared<std::atomic<State>>(State::kNew)) {
  const detail::ContractTable& contract = *model_.contract_;
  if (!contract.shares_streams()) return;
  stream_ = detail::engine::ShareStream(model_.client().engine(), contract.shared(), contract.speech, /*once=*/true);
}

// A step under way, which leaves the sequence broken unless it has ended: whoever drops its future drops this.
class Sequence::Turn {
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

INFERWIRE_DECL Future<InferResult> Sequence::Send(InferRequest request, CallOptions options, bool end) {
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
      .AsyncAs<InferResult>(std::move(raw), model_.contract_->decode_shared, std::move(options))
      .Then([turn = Turn(state_, before), end,
             buffers = request.output_buffers()](absl::StatusOr<InferResult> result) mutable {
        turn.End(result.status(), end ? State::kEnded : State::kIdle);
        detail::Deliver(result, buffers);
        return result;
      });
}

INFERWIRE_DECL absl::Status Sequence::MayGo(State state, const CallOptions& options) const {
  if (!stream_) return detail::Lacks(model_.contract().table(), "stream for requests that belong together");
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

INFERWIRE_DECL std::string Sequence::Name() const {
  const auto* const number = std::get_if<std::int64_t>(&id_);
  return number != nullptr ? detail::Cat(*number) : detail::Cat("'", std::get<std::string>(id_), "'");
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_SEQUENCE_H_
