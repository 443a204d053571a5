// SPDX-License-Identifier: Apache-2.0
//
// How much memory the process takes meanwhile.
#ifndef INFERWIRE_TESTS_SUPPORT_MEMORY_H_
#define INFERWIRE_TESTS_SUPPORT_MEMORY_H_

#include <cstddef>
#include <fstream>
#include <string>

namespace inferwire_test {

/// By how much the most resident memory since it was made exceeds what was resident then (Linux).
class PeakGrowth {
 public:
  PeakGrowth() {
    std::ofstream("/proc/self/clear_refs") << 5;  // the mark is what is resident now
    before_ = Field("VmRSS:");
  }
  std::size_t bytes() const {
    const std::size_t most = Field("VmHWM:");
    return most > before_ ? most - before_ : 0;
  }

 private:
  static std::size_t Field(const std::string& name) {
    std::ifstream status("/proc/self/status");
    std::string word;
    std::size_t kib = 0;
    while (status >> word) {
      if (word == name && status >> kib) return kib << 10;
    }
    return 0;
  }

  std::size_t before_ = 0;
};

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_MEMORY_H_
