// SPDX-License-Identifier: Apache-2.0
//
// What belongs to one process: threads, locks and connections do not come along when it forks.
#ifndef INFERWIRE_DETAIL_BASE_PROCESS_H_
#define INFERWIRE_DETAIL_BASE_PROCESS_H_

#include <absl/status/status.h>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include <atomic>
#include <cstdint>

#include "inferwire/detail/base/error.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

// A program and a library whose symbols it does not see have one each, which count alike.
inline constinit std::atomic<std::uint32_t> process_generation{0};

/// Differs between a process and those that it has forked. A load, so that every call may look.
inline std::uint32_t ProcessGeneration() { return process_generation.load(std::memory_order_relaxed); }

#if defined(__unix__) || defined(__APPLE__)
// From the start of the program: a child whose parent had no client is to be known, too.
inline const int watching_forks =
    ::pthread_atfork(nullptr, nullptr, [] { process_generation.fetch_add(1, std::memory_order_relaxed); });
#endif

/// What belongs to the process that made it. In a forked child it must not be touched: another thread may have held its
/// locks at that moment, and what it sends would go out on connections that are the parent's.
class OfOneProcess {
 public:
  bool foreign() const { return generation_ != ProcessGeneration(); }

 private:
  const std::uint32_t generation_ = ProcessGeneration();
};

/// What is answered in a forked child by what came along from its parent.
inline absl::Status ForkedError() {
  return detail::FailedPreconditionError(
      "this process was forked, and clients, futures and streams that its parent made are the parent's: a child has "
      "neither the threads nor the connections (docs/fork.md)");
}

/// The one T of this process: made with its first use, and never destroyed, since clients may outlive static storage. A
/// forked child makes its own, whatever state its parent's was in.
template <class T>
T& OfThisProcess() {
  struct Node {
    std::uint32_t generation;
    T value;
  };
  static constinit std::atomic<Node*> current{nullptr};
  const std::uint32_t generation = ProcessGeneration();
  Node* node = current.load(std::memory_order_acquire);
  if (node != nullptr && node->generation == generation) return node->value;
  Node* const made = new Node{generation, {}};
  if (current.compare_exchange_strong(node, made, std::memory_order_acq_rel)) return made->value;
  delete made;  // another thread was quicker
  return node->value;
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_PROCESS_H_
