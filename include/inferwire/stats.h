// SPDX-License-Identifier: Apache-2.0
//
// What a client has done, and how its targets are.
#ifndef INFERWIRE_STATS_H_
#define INFERWIRE_STATS_H_

#include <absl/time/time.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace inferwire {
inline namespace v0 {

/// A reading of a client's counters. They are read one after another, while calls go on: sums may be off by those.
struct ClientStats {
  std::uint64_t calls = 0;     ///< begun, of any kind
  std::uint64_t failed = 0;    ///< ended with an error
  std::uint64_t attempts = 0;  ///< begun
  std::uint64_t retries = 0;   ///< of the attempts, those after a failed one
  std::uint64_t hedges = 0;    ///< of the attempts, those beside a slow one
  std::uint64_t in_flight = 0;

  struct Target {
    std::string target;  ///< as given
    int channels = 0;    ///< in use; shared with other clients that agree in target, credentials and options
    int ready = 0;       ///< of those, the connected ones
    bool healthy = true;
    bool ejected = false;
    std::uint64_t ejections = 0;
    std::uint64_t attempts = 0;
    std::uint64_t failures = 0;  ///< of the attempts, those that the target, or the way to it, failed
    std::uint64_t in_flight = 0;
    /// Of answered unary attempts, the latest few thousand; at most an eighth too high. Unset before the first.
    std::optional<absl::Duration> p50, p90, p99;
    /// Why the latest attempt to connect failed, a call's, a health check's or WaitUntilReady's, of any client that
    /// shares the connections; empty once there is a connection.
    std::string connect_error = {};
  };
  std::vector<Target> targets;  ///< in the order given
};

/// What a stream of messages has been like so far: for token streams above all.
struct StreamStats {
  std::int64_t messages = 0;  ///< arrived, read or not
  /// From the start of the call to the first message; unset before it.
  std::optional<absl::Duration> first_message;
  /// Between messages as they arrive, of the latest few thousand; at most an eighth too high. Unset before the second.
  /// A reader that holds the server back stretches them.
  std::optional<absl::Duration> gap_p50, gap_p99;
  double messages_per_second = 0;  ///< from the first message to the last
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_STATS_H_
