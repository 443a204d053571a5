// SPDX-License-Identifier: Apache-2.0
//
// Messages that were serialised by another implementation.
#ifndef INFERWIRE_TESTS_SUPPORT_GOLDEN_H_
#define INFERWIRE_TESTS_SUPPORT_GOLDEN_H_

#include <fstream>
#include <sstream>
#include <string>

#include "support/catch.h"

namespace inferwire_test {

/// tests/data/golden/NAME.bin, beside the captures.
inline std::string Golden(const std::string& name) {
  std::ifstream file(std::string(INFERWIRE_CAPTURES) + "/../golden/" + name + ".bin", std::ios::binary);
  INFO(name);
  REQUIRE(file.good());
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_GOLDEN_H_
