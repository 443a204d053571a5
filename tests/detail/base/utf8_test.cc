// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/base/utf8.h"

#include <string>

#include "support/catch.h"

using inferwire::detail::IsUtf8;

TEST_CASE("text is UTF-8 wherever its characters lie", "[utf8]") {
  const std::string good =
      GENERATE("", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
               "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "h\xc3\xa9llo, \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x98\x80");
  for (std::size_t before = 0; before < 17; ++before) {
    CHECK(IsUtf8(std::string(before, 'x') + good));
    CHECK(IsUtf8(std::string(before, 'x') + good + "12345678"));
  }
}

TEST_CASE("what is no UTF-8 is found wherever it lies", "[utf8]") {
  const std::string bad = GENERATE("\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2 ", "\xe0\x9f\xbf", "\xe0\xa0",
                                   "\xed\xa0\x80", "\xed\xbf\xbf", "\xe1\x80 ", "\xf0\x8f\xbf\xbf", "\xf0\x90\x80",
                                   "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xfe", "caf\xe9");
  for (std::size_t before = 0; before < 17; ++before) {
    CHECK_FALSE(IsUtf8(std::string(before, 'x') + bad));
    CHECK_FALSE(IsUtf8(std::string(before, 'x') + bad + "12345678"));
  }
  CHECK(IsUtf8(std::string("a\0b", 3)));
}
