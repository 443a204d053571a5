// SPDX-License-Identifier: Apache-2.0
//
// What a call waits for before it sends anything.
#ifndef INFERWIRE_DETAIL_ENGINE_GATE_H_
#define INFERWIRE_DETAIL_ENGINE_GATE_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>

#include <optional>

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// Says whether a call may be sent. It belongs to one call, which destroys it when it has passed, or waits no longer.
class Gate {
 public:
  virtual ~Gate() = default;
  /// Once. OK, or the error that ends the call; where that is not known yet nothing, and `then` is called with it, from
  /// any thread, here already or later, unless the gate is gone by then.
  virtual std::optional<absl::Status> Enter(absl::AnyInvocable<void(absl::Status)> then) = 0;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_GATE_H_
