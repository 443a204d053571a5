// SPDX-License-Identifier: Apache-2.0
//
// What the end of an attempt means: for the call, and for the target. Pure.
#ifndef INFERWIRE_DETAIL_POLICY_CLASSIFY_H_
#define INFERWIRE_DETAIL_POLICY_CLASSIFY_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace policy {

/// What is known of an attempt that failed.
struct AttemptEnd {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  /// It ended by itself; else the call gives it up.
  bool ended = true;
  /// Its own time is up, or all but; and whether that is the call's.
  bool due = false;
  bool call_due = false;
  /// The server was told that time, and the status is one by which servers end what has none left.
  bool told = false;
  bool cut_off = false;
  /// No server saw it, for all that is provable.
  bool never_reached = false;
};

enum class OutOfTime {
  kNo,
  kAttempt,  ///< its own time is up, and the call has some left
  kCall,     ///< the call's is
};

/// What cuts an attempt off when its time is up is its deadline, whoever comes to it first, and whatever it says. A
/// connection that never was says more than that.
inline OutOfTime WhetherOutOfTime(const AttemptEnd& end) {
  const bool cut = end.ended && end.told && end.cut_off && !end.never_reached;
  if (!end.due || !(end.code == absl::StatusCode::kDeadlineExceeded || cut)) return OutOfTime::kNo;
  return end.call_due ? OutOfTime::kCall : OutOfTime::kAttempt;
}

/// What else is known, once that is.
struct FailedAttempt {
  OutOfTime time = OutOfTime::kNo;
  bool ended = true;
  /// A part of the answer was used, and another attempt would begin anew.
  bool committed = false;
  /// The message is larger than what one of the two takes, and stays so.
  bool too_large = false;
  /// Another request on the same stream may have brought it about.
  bool perhaps_anothers = false;
  bool never_reached = false;
  /// Such an end is the server's fault, or that of the way to it.
  bool server_failed = false;
  /// Whether there is another target to go to.
  bool others = false;
};

/// How an attempt ended, as far as its target is concerned.
enum class Blame {
  kUnreached,  ///< there was no way to it
  kFailed,
  kAnswered,
};

struct Classified {
  bool retryable = false;      ///< another attempt may help
  bool reached_server = true;  ///< it may have been begun there
  bool draining = false;       ///< the server is about to go, and begins with nothing
  Blame blame = Blame::kAnswered;
};

/// `retryable` and `draining` ask what may be the user's functions, where the answer matters: where the call's time is
/// up nobody needs to be asked.
inline Classified Classify(const FailedAttempt& attempt, absl::FunctionRef<bool()> retryable,
                           absl::FunctionRef<bool()> draining) {
  Classified out;
  const bool may = !attempt.committed && !attempt.too_large;
  out.retryable = may && (attempt.time == OutOfTime::kAttempt || attempt.perhaps_anothers ||
                          (attempt.time == OutOfTime::kNo && retryable()));
  out.reached_server = !(attempt.ended && attempt.never_reached);
  out.draining = attempt.ended && draining() && attempt.others;
  const bool failed = attempt.time != OutOfTime::kNo || out.draining || attempt.server_failed;
  out.blame = !out.reached_server ? Blame::kUnreached : failed ? Blame::kFailed : Blame::kAnswered;
  if (out.draining) {
    out.retryable = !attempt.committed;
    out.reached_server = false;  // a draining server refuses before it begins, so that trying again is safe
  }
  return out;
}

}  // namespace policy
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_POLICY_CLASSIFY_H_
