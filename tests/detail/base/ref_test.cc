// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/base/ref.h"

#include "support/catch.h"

namespace {
struct Left : virtual inferwire::detail::RefCounted {};
struct Right : virtual inferwire::detail::RefCounted {};
struct Both final : Left, Right {
  explicit Both(int& alive) : alive_(alive) { ++alive_; }
  ~Both() override { --alive_; }
  int& alive_;
};
}  // namespace

TEST_CASE("an object lives as long as any reference, through whichever base", "[detail]") {
  int alive = 0;
  inferwire::detail::Ref<Left> left;
  {
    auto both = inferwire::detail::MakeRef<Both>(alive);
    const inferwire::detail::Ref<Right> right = both;
    left = both;
    both = {};
    CHECK(alive == 1);
  }
  CHECK(alive == 1);
  const inferwire::detail::Ref<Left> moved = std::move(left);
  CHECK_FALSE(static_cast<bool>(left));
  CHECK(static_cast<bool>(moved));
  left = {};
  CHECK(alive == 1);
}

TEST_CASE("a reference assigned to itself keeps its object", "[detail]") {
  int alive = 0;
  auto both = inferwire::detail::MakeRef<Both>(alive);
  const auto& same = both;
  both = same;
  CHECK(alive == 1);
}
