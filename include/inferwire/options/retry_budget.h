// SPDX-License-Identifier: Apache-2.0
//
// How many extra attempts a client may make in all.
#ifndef INFERWIRE_OPTIONS_RETRY_BUDGET_H_
#define INFERWIRE_OPTIONS_RETRY_BUDGET_H_

namespace inferwire {
inline namespace v0 {

/// Bounds the retries of all calls of a client together. With every server down, the attempts made are at most
/// (1 + ratio) x calls + min_per_second x seconds + what was saved up before, or is overdrawn: ten seconds' worth. One
/// method at one target that uses up the budget does not use up that of others: they may overdraw it by a second's
/// worth each, once in ten seconds. Streams that go on where they broke leave half of what it starts with to others.
struct RetryBudget {
  /// What every call adds, in retries. Infinity lifts the budget; 0 leaves only the minimum.
  double ratio = 0.1;
  /// Added as time goes by, so that a client that seldom calls may retry too. The budget starts with ten seconds'
  /// worth.
  double min_per_second = 2;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_OPTIONS_RETRY_BUDGET_H_
