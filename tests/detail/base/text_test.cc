// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/base/text.h"

#include "support/catch.h"

TEST_CASE("pieces of every kind of text and numbers are joined", "[detail]") {
  const std::string_view view = "view";
  CHECK(inferwire::detail::Cat("text ", std::string("string "), view, " ", absl::string_view("absl"), 42, 0.5) ==
        "text string view absl420.5");
}

TEST_CASE("views convert to Abseil's and back", "[detail]") {
  const std::string_view view("a\0b", 3);
  CHECK(inferwire::detail::ToStd(inferwire::detail::ToAbsl(view)) == view);
}
