// SPDX-License-Identifier: Apache-2.0
//
// What tests/interop/run tells its tests.
#ifndef INFERWIRE_TESTS_SUPPORT_INTEROP_H_
#define INFERWIRE_TESTS_SUPPORT_INTEROP_H_

#include <cstdlib>
#include <optional>
#include <string>

#include "support/catch.h"

namespace inferwire_test {

/// The value of one of its variables. Where it is not set, the test says that it is skipped, and is to return.
inline std::optional<std::string> Told(const char* variable) {
  if (const char* const value = std::getenv(variable); value != nullptr && *value != '\0') return value;
  WARN("skipped: " << variable << " is not set; tests/interop/run sets it");
  return std::nullopt;
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_INTEROP_H_
