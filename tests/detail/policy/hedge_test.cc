// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/policy/hedge.h"

#include <limits>
#include <string>

#include "support/catch.h"

using inferwire::HedgePolicy;
using inferwire::detail::policy::Validate;

TEST_CASE("a hedge policy that makes no sense is refused by name", "[policy]") {
  CHECK(Validate(HedgePolicy{}).ok());
  CHECK(std::string(Validate(HedgePolicy{.max_hedges = 0}).message()).find("max_hedges is 0") != std::string::npos);
  CHECK(std::string(Validate(HedgePolicy{.max_ratio = 2}).message()).find("max_ratio is 2") != std::string::npos);
  CHECK_FALSE(Validate(HedgePolicy{.delay = absl::Seconds(-1)}).ok());
  CHECK_FALSE(Validate(HedgePolicy{.percentile = 95}).ok());
  CHECK_FALSE(Validate(HedgePolicy{.max_ratio = std::numeric_limits<double>::quiet_NaN()}).ok());
}
