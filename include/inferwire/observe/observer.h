// SPDX-License-Identifier: Apache-2.0
//
// The seam for tracing, metrics and logs: what happens to each call, as it happens.
#ifndef INFERWIRE_OBSERVE_OBSERVER_H_
#define INFERWIRE_OBSERVE_OBSERVER_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstddef>
#include <memory>
#include <string_view>

#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {

/// Watches one call. Its functions are called one after another, never two at once, from whatever thread drives the
/// call, and inside of the engine: they must be quick, must not block, and must not call the client or the call. The
/// object is destroyed after Ended. What they throw is the call's end, with INTERNAL.
class CallObserver {
 public:
  struct AttemptStart {
    int number;               ///< from 0
    bool hedge;               ///< beside a slow one, not after a failed one
    std::string_view target;  ///< as given in ClientOptions::targets
  };

  virtual ~CallObserver() = default;
  /// An attempt is about to start. What is added to `metadata`, empty at first, is sent with this attempt, in
  /// place of the call's and the client's entries of the same keys; illegal entries end the call with INVALID_ARGUMENT.
  virtual void AttemptStarted(const AttemptStart& /*start*/, Metadata& /*metadata*/) {}
  /// It ended, or was given up.
  virtual void AttemptEnded(int /*number*/, const CallInfo::Attempt& /*attempt*/) {}
  /// The next attempt starts after this wait.
  virtual void RetryScheduled(absl::Duration /*delay*/) {}
  /// The call's single end.
  virtual void Ended(const absl::Status& /*status*/, const CallInfo& /*info*/) {}
};

/// Watches a client. Safe from any number of threads.
class Observer {
 public:
  struct CallStart {
    std::string_view method;    ///< "/inference.Inference/RunInference"; lives as long as the process
    std::size_t request_bytes;  ///< serialised; 0 where requests are streamed
  };

  virtual ~Observer() = default;
  /// A call starts; null if it is of no interest.
  virtual std::unique_ptr<CallObserver> CallStarted(const CallStart& start) = 0;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_OBSERVE_OBSERVER_H_
