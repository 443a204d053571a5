// SPDX-License-Identifier: Apache-2.0
//
// Whether calls take ten times as long as usual, since a sanitizer watches them.
#ifndef INFERWIRE_TESTS_SUPPORT_SLOW_H_
#define INFERWIRE_TESTS_SUPPORT_SLOW_H_

namespace inferwire_test {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool kSlow = true;
#else
inline constexpr bool kSlow = false;
#endif

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_SLOW_H_
