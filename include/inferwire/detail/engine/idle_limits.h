// SPDX-License-Identifier: Apache-2.0
//
// What the idle timeout of a stream bounds, as a state machine. Pure: time comes in as an argument.
#ifndef INFERWIRE_DETAIL_ENGINE_IDLE_LIMITS_H_
#define INFERWIRE_DETAIL_ENGINE_IDLE_LIMITS_H_

#include <absl/time/time.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

#include "inferwire/clock.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// Waits that count while somebody waits. One timer serves all: it is not moved at each wait, but looks at what is due
/// when it fires.
class IdleLimits {
 public:
  enum Wait : std::size_t {
    kMessage,  ///< a reader's, for a message
    kRoom,     ///< a writer's, for room
    kEnd,      ///< for the end
  };

  explicit IdleLimits(absl::Duration timeout) : timeout_(timeout) {}

  absl::Duration timeout() const { return timeout_; }
  bool counts(Wait wait) const { return counts_[wait]; }

  /// Begins, or begins anew. When the timer is to be armed for, if it is not armed.
  std::optional<TimePoint> Start(Wait wait, TimePoint now) {
    if (timeout_ == absl::InfiniteDuration()) return std::nullopt;
    counts_[wait] = true;
    due_[wait] = After(now, timeout_);
    if (armed_) return std::nullopt;
    armed_ = true;
    return due_[wait];
  }
  void Stop(Wait wait) { counts_[wait] = false; }

  struct Fired {
    std::optional<Wait> expired = std::nullopt;    ///< the first that is due
    std::optional<TimePoint> next = std::nullopt;  ///< else when the timer is to be armed for, if for anything
  };
  /// The timer has fired, and is not armed any more.
  Fired OnTimer(TimePoint now) {
    armed_ = false;
    TimePoint next = TimePoint::max();
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (!counts_[i]) continue;
      if (now >= due_[i]) return {.expired = static_cast<Wait>(i)};
      next = (std::min)(next, due_[i]);
    }
    if (next == TimePoint::max()) return {};
    armed_ = true;
    return {.next = next};
  }

 private:
  const absl::Duration timeout_;
  std::array<bool, 3> counts_{};
  std::array<TimePoint, 3> due_{};
  bool armed_ = false;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_IDLE_LIMITS_H_
