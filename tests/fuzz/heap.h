// SPDX-License-Identifier: Apache-2.0
//
// What the code under test takes from the heap at once, and the end of the process where it takes too much.
#ifndef INFERWIRE_TESTS_FUZZ_HEAP_H_
#define INFERWIRE_TESTS_FUZZ_HEAP_H_

#include <cstddef>
#include <utility>

namespace inferwire_fuzz {

/// Ends the process, which is how a fuzzer finds out.
void Require(bool holds, const char* what);

/// Bytes of the heap that this thread has taken and not given back. Without a sanitizer those of operator new only.
std::size_t HeapNow();
/// From here on the most is counted anew.
void HeapForget();
std::size_t HeapMost();

/// What `f` returns, which must at no time have held more than `most` bytes.
template <class F>
auto Within(std::size_t most, F f) {
  const std::size_t before = HeapNow();
  HeapForget();
  auto result = f();
  Require(HeapMost() - before <= most, "more memory was taken than what arrived allows");
  return result;
}

/// Twice what arrived, and what stands for things that arrive in few bytes (an output, a parameter, a detail): `each`
/// bytes for every one that arrived, up to the most that are kept.
inline std::size_t Twice(std::size_t arrived, std::size_t each, std::size_t most, std::size_t times = 2) {
  return times * arrived + (each * arrived < most ? each * arrived : most) + 8192;
}

}  // namespace inferwire_fuzz

#endif  // INFERWIRE_TESTS_FUZZ_HEAP_H_
