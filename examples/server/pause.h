// SPDX-License-Identifier: Apache-2.0
//
// Waiting in a handler, for as long as anybody wants the answer.
#ifndef INFERWIRE_EXAMPLES_SERVER_PAUSE_H_
#define INFERWIRE_EXAMPLES_SERVER_PAUSE_H_

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace inferwire::examples {

/// False when the call was cancelled meanwhile, as `cancelled` says: nobody waits for the rest.
template <class Cancelled>
bool Pause(Cancelled cancelled, std::chrono::milliseconds delay) {
  constexpr std::chrono::milliseconds kLongestNap(5);
  const auto end = std::chrono::steady_clock::now() + delay;
  while (!cancelled()) {
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= left.zero()) return true;
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(left, kLongestNap));
  }
  return false;
}
inline bool Pause(grpc::ServerContext& context, std::chrono::milliseconds delay) {
  return Pause([&] { return context.IsCancelled(); }, delay);
}

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_PAUSE_H_
