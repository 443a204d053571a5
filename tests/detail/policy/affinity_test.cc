// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/policy/affinity.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "support/catch.h"

using inferwire::detail::policy::AffinityBound;
using inferwire::detail::policy::AffinityWeight;
using inferwire::detail::policy::HashOf;

namespace {
std::string OwnerOf(const std::string& key, const std::vector<std::string>& targets) {
  return *std::max_element(targets.begin(), targets.end(), [&](const std::string& a, const std::string& b) {
    return AffinityWeight(HashOf(key), HashOf(a)) < AffinityWeight(HashOf(key), HashOf(b));
  });
}
std::vector<std::string> TargetsTo(int count) {
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) out.push_back("10.0.0." + std::to_string(i) + ":8001");
  return out;
}
}  // namespace

TEST_CASE("keys are shared evenly by their targets", "[affinity]") {
  for (const int count : {2, 3, 8, 50}) {
    const std::vector<std::string> targets = TargetsTo(count);
    std::map<std::string, int> keys;
    const int each = 400;
    for (int i = 0; i < each * count; ++i) ++keys[OwnerOf("session-" + std::to_string(i), targets)];
    for (const std::string& target : targets) {
      INFO(count << " targets, " << target << ": " << keys[target]);
      CHECK(keys[target] > each * 3 / 4);
      CHECK(keys[target] < each * 5 / 4);
    }
  }
}

TEST_CASE("a target that goes takes its own keys alone, and one that comes takes no more than its share",
          "[affinity]") {
  const std::vector<std::string> all = TargetsTo(5);
  const std::vector<std::string> fewer(all.begin(), all.end() - 1);
  int moved = 0;
  const int keys = 2000;
  for (int i = 0; i < keys; ++i) {
    const std::string key = "k" + std::to_string(i);
    const std::string before = OwnerOf(key, all);
    const std::string after = OwnerOf(key, fewer);
    if (before != all.back()) CHECK(after == before);
    moved += after != before ? 1 : 0;
  }
  CHECK(moved > keys / 5 * 3 / 4);
  CHECK(moved < keys / 5 * 5 / 4);
}

TEST_CASE("hashes are the same in every process", "[affinity]") {
  CHECK(HashOf("") == 0xC3817C016BA4FF30);
  CHECK(HashOf("session-42") == HashOf(std::string("session-42")));
  CHECK(HashOf("a") != HashOf("b"));
}

TEST_CASE("one target may have a quarter more than its share", "[affinity]") {
  CHECK(AffinityBound(0, 3) == 1);
  CHECK(AffinityBound(3, 4) == 2);
  CHECK(AffinityBound(99, 10) == 13);
  CHECK(AffinityBound(7, 1) == 10);
}
