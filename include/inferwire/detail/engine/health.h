// SPDX-License-Identifier: Apache-2.0
//
// Asks each of a client's targets whether it can serve, over and over, and tells the pool.
#ifndef INFERWIRE_DETAIL_ENGINE_HEALTH_H_
#define INFERWIRE_DETAIL_ENGINE_HEALTH_H_

#include <absl/status/status.h>
#include <absl/time/time.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/client_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/channel/health.h"
#include "inferwire/detail/channel/pool.h"
#include "inferwire/detail/engine/engine.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/detail/engine/stream.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// Follows one target: a stream of grpc.health.v1's Watch; or a question, an answer, a wait, and again. Both are
/// streams to the engine, which does not take the time of those.
class TargetHealth final : public TimerOwner {
 public:
  /// `line` is an engine with this target alone.
  TargetHealth(std::weak_ptr<Engine> client, std::shared_ptr<channel::Target> target, std::shared_ptr<Engine> line)
      : client_(std::move(client)),
        target_(std::move(target)),
        line_(std::move(line)),
        policy_(line_->options().health),
        loop_(line_->AsyncLoop()),
        timer_(*this, line_->clock()),
        watching_(!policy_.readiness.has_value()),
        request_(grpc::Slice(policy_.readiness.has_value() ? policy_.readiness->request
                                                           : channel::EncodeHealthRequest(*policy_.check_service))) {}

  const std::shared_ptr<channel::Target>& target() const { return target_; }

  void Ask() {
    detail::Ref<StreamCall> call;
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      heard_ = false;
      asked_ = line_->Now();
      const absl::Duration timeout = watching_ ? Duration(absl::InfiniteDuration()) : policy_.timeout;
      const std::string& path = policy_.readiness.has_value() ? *policy_.readiness->path
                                : watching_                   ? channel::HealthWatchPath()
                                                              : channel::HealthCheckPath();
      call = call_ = detail::MakeRef<StreamCall>(line_, loop_, Call::Spec{path, request_, {}, timeout},
                                                 StreamCall::Terms{.watches = watching_});
    }
    call->Start(absl::OkStatus());
    Listen(std::move(call));
  }
  void Stop() {
    detail::Ref<StreamCall> call;
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
      call = std::move(call_);
    }
    loop_.Disarm(timer_);
    if (call) call->Cancel(detail::CancelledError("the target's health is of no interest any more"));
  }

  void OnTimer(Timer&) override {
    detail::Ref<StreamCall> call;
    {
      std::lock_guard lock(mutex_);
      call = call_;
    }
    if (!call) return Ask();
    detail::RunOn(line_->executor(),
                  [self = detail::Ref<TargetHealth>(this), call](const absl::Status&) { self->Listen(call); });
  }

 private:
  // What a server without a health service is asked again after.
  static constexpr absl::Duration kLongWait = absl::Minutes(1);
  // One that tells more than so much within that time is listened to a while later: the threads are everybody's.
  static constexpr int kMostTold = 16;
  static constexpr absl::Duration kPause = absl::Milliseconds(100);

  void Listen(detail::Ref<StreamCall> call) {
    while (true) {
      wire::Reply reply;
      switch (call->TryRead(&reply)) {
        case StreamCall::ReadState::kMessage: {
          bool pause = false;
          {
            std::lock_guard lock(mutex_);
            heard_ = true;
            const TimePoint now = line_->Now();
            if (Between(told_since_, now) >= kPause) told_since_ = now, told_ = 0;
            pause = ++told_ >= kMostTold;
          }
          Tell(Understand(std::move(reply)));
          if (!pause) break;
          std::lock_guard lock(mutex_);
          if (!stopped_) loop_.Arm(timer_, After(line_->Now(), kPause));
          return;
        }
        case StreamCall::ReadState::kWait:
          if (call->OnReadable([self = detail::Ref<TargetHealth>(this), call] { self->Listen(call); })) return;
          break;
        case StreamCall::ReadState::kEnded:
          return OnEnd(call->status());
      }
    }
  }

  bool Understand(wire::Reply&& reply) const {
    if (!policy_.readiness.has_value()) return channel::DecodeHealthResponse(std::move(reply));
    return detail::InvokeUser("ReadinessCheck::ready", [&] { return policy_.readiness->ready(std::move(reply)); })
        .value_or(false);
  }

  void OnEnd(const absl::Status& status) {
    absl::Duration wait = policy_.interval;
    std::optional<bool> healthy;
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      call_ = {};
      if (status.code() == absl::StatusCode::kUnimplemented && !heard_) {
        const bool check_next = watching_;
        watching_ = !watching_ && !policy_.readiness.has_value();
        if (!check_next) {
          healthy = true;  // no opinion
          wait = (std::max)(wait, kLongWait);
        } else {
          wait = absl::ZeroDuration();
        }
      } else if (watching_ && heard_) {
        // A stream that breaks says nothing of health: connections come to their age. It does if it cannot be opened
        // again.
        wait = (std::max)(wait - Between(asked_, line_->Now()), absl::ZeroDuration());
      } else if (!status.ok() || !heard_) {
        healthy = false;
      }
    }
    if (healthy.has_value()) Tell(*healthy);
    std::lock_guard lock(mutex_);
    if (!stopped_) loop_.Arm(timer_, After(line_->Now(), wait));
  }

  void Tell(bool healthy) {
    if (const std::shared_ptr<Engine> client = client_.lock()) {
      client->pool().SetHealth(*target_, healthy, client->Now());
    }
  }

  const std::weak_ptr<Engine> client_;
  const std::shared_ptr<channel::Target> target_;
  const std::shared_ptr<Engine> line_;
  const HealthPolicy& policy_;
  Loop& loop_;
  Timer timer_;
  std::mutex mutex_;
  bool stopped_ = false;
  bool watching_;
  bool heard_ = false;  // an answer of the present call
  int told_ = 0;        // since then
  TimePoint told_since_;
  TimePoint asked_;
  detail::Ref<StreamCall> call_;
  const wire::Payload request_;
};

/// Follows all targets of a client.
class Health final : public Follower {
 public:
  explicit Health(const std::shared_ptr<Engine>& client) : client_(client) { Update(); }
  ~Health() override { Health::Stop(); }

  void Update() override {
    const std::shared_ptr<Engine> client = client_.lock();
    if (client == nullptr) return;
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    const auto targets = client->pool().targets();
    std::erase_if(followed_, [&](const detail::Ref<TargetHealth>& one) {
      if (std::find(targets.begin(), targets.end(), one->target()) != targets.end()) return false;
      one->Stop();
      return true;
    });
    for (const auto& target : targets) {
      if (std::any_of(followed_.begin(), followed_.end(), [&](const auto& one) { return one->target() == target; })) {
        continue;
      }
      // The client's own connections, credentials and clock; one attempt, and nobody watches.
      ClientOptions options = client->options();
      options.targets = {target->endpoint->target()};
      options.idempotent = true;
      options.retry.max_attempts = 1;
      options.attempt_timeout = absl::InfiniteDuration();
      options.hedge.reset();
      options.observer = nullptr;
      followed_.push_back(
          detail::MakeRef<TargetHealth>(client_, target, Engine::Make(std::move(options), client->connector())));
      followed_.back()->Ask();
    }
  }

  void Stop() override {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    for (const auto& one : followed_) one->Stop();
    followed_.clear();
  }

 private:
  const std::weak_ptr<Engine> client_;
  std::mutex mutex_;
  bool stopped_ = false;
  std::vector<detail::Ref<TargetHealth>> followed_;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_HEALTH_H_
