// SPDX-License-Identifier: Apache-2.0
//
// When the batches of a Batcher leave.
#ifndef INFERWIRE_BATCHER_OPTIONS_H_
#define INFERWIRE_BATCHER_OPTIONS_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>

#include "inferwire/clock.h"
#include "inferwire/detail/base/form.h"

namespace inferwire {
inline namespace v0 {

/// When batches leave.
struct BatcherOptions {
  /// A batch of so many rows leaves at once.
  std::int64_t max_batch = 32;
  /// How long the first of a batch waits for others. Zero with `max_in_flight`: not at all where the server is idle,
  /// and while it works the next batch grows. Infinite: until the batch is full.
  Duration max_delay = absl::Milliseconds(2);
  /// At most so many batches are under way at a time; those whose time has come wait for one to come back, and grow
  /// meanwhile. 0: any number.
  int max_in_flight = 0;
};

namespace detail {

/// INVALID_ARGUMENT naming the option, what was given and what was expected.
INFERWIRE_DECL absl::Status Validate(const BatcherOptions& options);

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_BATCHER_OPTIONS_H_
