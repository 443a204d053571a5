// SPDX-License-Identifier: Apache-2.0
//
// Requests that travel together on one stream, told apart by their ids: as the calls that make them see it.
#ifndef INFERWIRE_DETAIL_ENGINE_STREAM_MUX_H_
#define INFERWIRE_DETAIL_ENGINE_STREAM_MUX_H_

#include <absl/status/status.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/clock.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/engine/attempt.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/error_details.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// The id of a request on the wire: a number in front of the caller's own, and never given twice, so that an answer to
/// one attempt is not taken for one to the next, nor to another call that was given the same id.
inline std::string WireId(std::string_view user) {
  static std::atomic<std::uint64_t> last{0};
  return detail::Cat(last.fetch_add(1, std::memory_order_relaxed) + 1, "/", user);
}

/// One stream that carries requests. Its functions are called under the lock of the attempt's call.
class MuxStream : public virtual detail::RefCounted {
 public:
  virtual std::string peer() const = 0;
  /// As Attempt has them, of the stream's own.
  virtual std::uint64_t heard() const = 0;
  virtual Pulse TakePulse(const Look& look) = 0;
  virtual std::string Doubt(const Look& look) = 0;
  /// Whether any reply has arrived on this stream.
  virtual bool warm() const = 0;
  /// Takes no new attempts, and goes with the last that is there: the server is not up to more.
  virtual void Retire() = 0;
  /// The attempt is of no interest any more, and may end here.
  virtual void Detach(MuxedAttempt& attempt) = 0;
  /// Back pressure: the stream is not read while some attempt's reader is backlogged, unless another one is waiting.
  virtual void SetBacklogged(MuxedAttempt& attempt, bool backlogged) = 0;
  virtual void SetWaiting(MuxedAttempt& attempt, bool waiting) = 0;
};

/// An attempt that is a request on a shared stream. It belongs to the mux_stream until its last message, or until it
/// leaves.
class MuxedAttempt : public Attempt, public std::enable_shared_from_this<MuxedAttempt> {
 public:
  /// What it asks of the stream.
  struct Terms {
    bool alone;       ///< to itself, since it may have been another request that ended the last one
    bool repeatable;  ///< the request may run twice
  };

  /// `user_id` is the caller's.
  MuxedAttempt(TimerOwner& call, channel::Lease lease, detail::Ref<StreamMux> mux, const std::string& user_id,
               const wire::Payload& request, const Terms& terms, int number, TimePoint now, TimePoint due)
      : Attempt(call, number, now, due),
        lease_(std::move(lease)),
        mux_(std::move(mux)),
        id_(WireId(user_id)),
        request_(request),
        terms_(terms) {}

  void Start() override {
    mux_stream_ = mux_->Attach(std::shared_ptr<MuxedAttempt>(this), lease_.place(), request_);
    if (!mux_stream_->warm()) lease_.set_cold();
  }
  void Abandon() override {
    const detail::Ref<MuxStream> mux_stream = mux_stream_;  // this may end
    mux_stream->Detach(*this);
  }
  const std::string& target() const override { return lease_.target(); }
  std::string peer() const override { return mux_stream_ ? mux_stream_->peer() : std::string(); }
  std::uint64_t heard() const override { return mux_stream_ ? mux_stream_->heard() : 0; }
  Pulse TakePulse(const Look& look) override { return mux_stream_ ? mux_stream_->TakePulse(look) : Pulse::kHeard; }
  std::string Doubt(const Look& look) override { return mux_stream_ ? mux_stream_->Doubt(look) : std::string(); }
  std::vector<ErrorDetail> details() const override { return details_; }
  /// What ends a stream is one failure, however many were on it, and the stream tells of it.
  void ReportOutcome(channel::Outcome verdict, std::optional<absl::Duration> latency, TimePoint now) override {
    if (verdict == channel::Outcome::kFailed) {
      if (broken_) {
        verdict = channel::Outcome::kNone;
      } else {
        mux_stream_->Retire();
      }
    }
    lease_.Release(verdict, latency, now);
  }
  bool NeverReached(absl::StatusCode code) const override {
    return broken_ && !reached_ && code == absl::StatusCode::kUnavailable;
  }
  /// An error that the server tells of one request is that request's, whatever its code: most have none of their own.
  bool ServerFailed(absl::StatusCode) const override { return broken_; }
  bool PerhapsAnothers() const override { return shared_; }
  bool ServerWorks() const override { return server_works_; }

  /// On the wire.
  const std::string& id() const { return id_; }
  const Terms& terms() const { return terms_; }

  // From the mux_stream, without any lock.

  virtual void OnMessage(wire::Reply&& message, const ReplyTag& label) = 0;
  /// The stream ended before the request did.
  virtual void OnBroken(const absl::Status& status) = 0;
  /// What the server said of that end, whether the stream had reached it and carried others too, and whether the server
  /// works all the same. Before OnBroken.
  void set_broken(std::vector<ErrorDetail> details, bool reached, bool shared, bool server_works) {
    details_ = std::move(details);
    broken_ = true;
    reached_ = reached;
    shared_ = shared;
    server_works_ = server_works;
  }

  // The mux_stream's own, under its lock, once it has boarded.
  bool is_backlogged = false;
  bool is_waiting = false;
  bool answered = false;  // by something

 protected:
  const detail::Ref<MuxStream>& mux_stream() const { return mux_stream_; }

 private:
  channel::Lease lease_;
  const detail::Ref<StreamMux> mux_;
  const std::string id_;
  const wire::Payload& request_;  // of the call
  const Terms terms_;
  detail::Ref<MuxStream> mux_stream_;
  std::vector<ErrorDetail> details_;
  bool broken_ = false;
  bool reached_ = false;
  bool shared_ = false;
  bool server_works_ = false;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_STREAM_MUX_H_
