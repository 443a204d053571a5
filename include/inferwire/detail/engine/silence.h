// SPDX-License-Identifier: Apache-2.0
//
// Connections by which nothing comes: when they are looked at, and when one is dead. No gRPC, no threads.
#ifndef INFERWIRE_DETAIL_ENGINE_SILENCE_H_
#define INFERWIRE_DETAIL_ENGINE_SILENCE_H_

#include <absl/time/time.h>

#include <algorithm>

#include "inferwire/clock.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// Whether anything comes by the connection of an attempt that waits.
enum class Pulse {
  kHeard,    ///< it does, or that cannot be told
  kWaiting,  ///< the server was asked, and has not answered yet
  kNone,     ///< it does not, while a new connection to the same target is answered
};

/// What is known of the connection of an attempt that waits.
struct Silence {
  bool heard = false;                                // something came by it, or it is not up
  absl::Duration unanswered = absl::ZeroDuration();  // how long a question has been out with nothing coming back
  bool heard_beside = false;                         // another one to the same target was made, and is answered
};
enum class SilenceStep {
  kTrust,      ///< it lives
  kAsk,        ///< ask, unless a question is out
  kAskBeside,  ///< ask by another connection, unless a question is out: a server may be slow to say anything at all
  kReplace,    ///< it is dead
};
/// A slow model is none of its connection's fault, and a server that has a single thread for all answers nothing
/// meanwhile. So a connection is dead where it stays silent to a question for `patience`, and another one does not.
inline SilenceStep NextStep(const Silence& silence, absl::Duration patience) {
  if (silence.heard) return SilenceStep::kTrust;
  if (silence.unanswered < patience || silence.unanswered == absl::ZeroDuration()) return SilenceStep::kAsk;
  return silence.heard_beside ? SilenceStep::kReplace : SilenceStep::kAskBeside;
}

/// When a call looks at the connections of its attempts.
class Looks {
 public:
  /// An attempt begins to wait, for `time` at the longest.
  void Begin(TimePoint now, absl::Duration time) {
    wait_ = (std::min)(time / 4, kMostPatience);  // so that enough is left for another attempt
    const bool looks = wait_ >= kLeastPatience;
    patience_ = looks ? (std::min)(wait_, kAnswerWithin) : kAnswerWithin;
    due_ = looks ? After(now, wait_) : TimePoint::max();
  }
  /// It does not wait for anything just now.
  void Rest(TimePoint now) { due_ = After(now, wait_); }
  /// Nothing is looked at any more.
  void Stop() { due_ = TimePoint::max(); }
  /// One was found so, and is looked at again.
  void Again(Pulse found, TimePoint now) {
    due_ = (std::min)(due_, After(now, found == Pulse::kHeard ? wait_ * 2 : patience_ / 4));
  }

  /// Whether it has waited long enough to be looked at; else it is looked at once it has.
  bool Ripe(TimePoint quiet_since, TimePoint now) {
    const TimePoint ripe = After(quiet_since, wait_);
    if (now < ripe) due_ = (std::min)(due_, ripe);
    return now >= ripe;
  }

  TimePoint due() const { return due_; }
  /// How long the server may take to give a sign of life.
  absl::Duration patience() const { return patience_; }

 private:
  // Most calls take less.
  static constexpr absl::Duration kMostPatience = absl::Seconds(3);
  // What is shorter tells more of the way than of the connection.
  static constexpr absl::Duration kLeastPatience = absl::Milliseconds(25);
  static constexpr absl::Duration kAnswerWithin = absl::Seconds(1);

  TimePoint due_ = TimePoint::max();
  absl::Duration wait_ = kMostPatience;
  absl::Duration patience_ = kAnswerWithin;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_SILENCE_H_
