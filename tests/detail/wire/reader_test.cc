// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/wire/reader.h"

#include <cstdint>
#include <random>
#include <string>

#include "support/catch.h"

using inferwire::detail::wire::Reader;

TEST_CASE("every type of field is read", "[wire]") {
  Reader reader(
      std::string_view("\x08\x96\x01\x12\x03"
                       "abc\x19\x01\x00\x00\x00\x00\x00\x00\x80\x25\x02\x00\x00\x00",
                       22));
  REQUIRE(reader.Next());
  CHECK(reader.field() == 1);
  CHECK(reader.number() == 150);
  REQUIRE(reader.Next());
  CHECK(reader.field() == 2);
  CHECK(reader.bytes() == "abc");
  REQUIRE(reader.Next());
  CHECK(reader.field() == 3);
  CHECK(reader.number() == 0x8000000000000001U);
  REQUIRE(reader.Next());
  CHECK(reader.field() == 4);
  CHECK(reader.number() == 2);
  CHECK_FALSE(reader.Next());
  CHECK(reader.ok());
}

TEST_CASE("what is malformed is noticed, and nothing is read beyond the end", "[wire]") {
  const std::string bytes = GENERATE(as<std::string>{},                                   //
                                     "\x08",                                              // no value
                                     "\x08\x80",                                          // a varint that goes on
                                     "\x12\x04\x61",                                      // fewer bytes than said
                                     "\x0b",                                              // a group
                                     "\x0e",                                              // no such type
                                     "\x07",                                              // nor this
                                     "\x02\x01\x61",                                      // field 0
                                     "\x19\x01\x01",                                      // half a fixed64
                                     "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",      // 65 bits
                                     "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x61",  // 2^64 - 1 bytes
                                     "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01");     // an absurd tag
  Reader reader(bytes);
  CHECK_FALSE(reader.Next());
  CHECK_FALSE(reader.ok());
  CHECK_FALSE(reader.Next());
}

TEST_CASE("the largest varint is read", "[wire]") {
  Reader reader("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
  REQUIRE(reader.Next());
  CHECK(reader.number() == ~std::uint64_t{0});
}

TEST_CASE("random bytes end, well formed or not", "[wire]") {
  std::mt19937 generator(5);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(generator() % 40, '\0');
    for (char& c : bytes) c = static_cast<char>(generator());
    Reader reader(bytes);
    std::size_t fields = 0;
    while (reader.Next()) REQUIRE(++fields <= bytes.size());
  }
}
