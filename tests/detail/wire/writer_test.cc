// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/wire/writer.h"

#include <cstdint>
#include <limits>
#include <string>

#include "inferwire/detail/wire/reader.h"
#include "support/catch.h"

using inferwire::detail::wire::Field;
using inferwire::detail::wire::Reader;
using inferwire::detail::wire::Varint;

TEST_CASE("numbers are written as they are read", "[wire]") {
  CHECK(Varint(0) == std::string(1, '\0'));
  CHECK(Varint(300) == "\xac\x02");
  for (const std::uint64_t value : {std::uint64_t{1}, std::uint64_t{127}, std::uint64_t{128}, std::uint64_t{1} << 35,
                                    (std::numeric_limits<std::uint64_t>::max)()}) {
    const std::string bytes = "\x08" + Varint(value);
    Reader reader(bytes);
    REQUIRE(reader.Next());
    CHECK(reader.number() == value);
  }
}

TEST_CASE("bytes are written as they are read", "[wire]") {
  const std::string long_value(300, 'x');
  const std::string bytes = Field(1, "abc") + Field(200, long_value) + Field(3, "");
  Reader reader(bytes);
  REQUIRE(reader.Next());
  CHECK(reader.bytes() == "abc");
  REQUIRE(reader.Next());
  CHECK(reader.field() == 200);
  CHECK(reader.bytes() == long_value);
  REQUIRE(reader.Next());
  CHECK(reader.bytes().empty());
  CHECK_FALSE(reader.Next());
  CHECK(reader.ok());
}
