// SPDX-License-Identifier: Apache-2.0
//
// How many connections a client has to each target.
#ifndef INFERWIRE_OPTIONS_POOL_POLICY_H_
#define INFERWIRE_OPTIONS_POOL_POLICY_H_

#include <absl/time/time.h>

#include "inferwire/clock.h"

namespace inferwire {
inline namespace v0 {

/// How many connections a client has to each target. One carries many calls at a time, but servers bound how many
/// (often 100), and gRPC has the rest wait without a word.
struct PoolPolicy {
  int min_channels = 1;                      ///< connections that are kept
  int max_channels = 8;                      ///< at most 64
  int max_streams_per_channel = 100;         ///< one more is opened when all carry so many calls
  Duration idle_timeout = absl::Minutes(1);  ///< a connection beyond the least that is not needed is closed
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_OPTIONS_POOL_POLICY_H_
