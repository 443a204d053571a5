// SPDX-License-Identifier: Apache-2.0
//
// For what others do in their own time: servers, the system, threads that nobody waits for.
#ifndef INFERWIRE_TESTS_SUPPORT_EVENTUALLY_H_
#define INFERWIRE_TESTS_SUPPORT_EVENTUALLY_H_

#include <chrono>
#include <thread>

namespace inferwire_test {

/// Asks again until it is so; false after so long that it is never going to be.
template <class IsSo>
bool Eventually(IsSo is_so, std::chrono::seconds patience = std::chrono::minutes(1)) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!is_so()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_EVENTUALLY_H_
