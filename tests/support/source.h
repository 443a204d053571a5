// SPDX-License-Identifier: Apache-2.0
//
// A future's source that a test completes by hand.
#ifndef INFERWIRE_TESTS_SUPPORT_SOURCE_H_
#define INFERWIRE_TESTS_SUPPORT_SOURCE_H_

#include <atomic>
#include <memory>
#include <utility>

#include "inferwire/future.h"

namespace inferwire_test {

/// Cancelling completes it, as a call does.
class Source final : public inferwire::detail::FutureState<int> {
 public:
  explicit Source(std::shared_ptr<inferwire::Executor> executor = std::make_shared<inferwire::ThreadPool>(1))
      : executor_(std::move(executor)) {}
  void CancelSource() override {
    ++cancels;
    Complete(absl::CancelledError("cancelled"));
  }
  void Complete(absl::StatusOr<int> result) {
    if (!done_.exchange(true)) Set(std::move(result));
  }
  inferwire::Executor& executor() override { return *executor_; }
  std::atomic<int> cancels{0};

 private:
  const std::shared_ptr<inferwire::Executor> executor_;
  std::atomic<bool> done_{false};
};

inline inferwire::detail::Ref<Source> MakeSource() { return inferwire::detail::MakeRef<Source>(); }
inline inferwire::detail::Ref<Source> MakeSource(std::shared_ptr<inferwire::Executor> executor) {
  return inferwire::detail::MakeRef<Source>(std::move(executor));
}
inline inferwire::Future<int> FutureOf(const inferwire::detail::Ref<Source>& source) {
  return inferwire::Future<int>(inferwire::detail::Ref<inferwire::detail::FutureState<int>>(source));
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_SOURCE_H_
