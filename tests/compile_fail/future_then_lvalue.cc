// expect: Then uses the future up; write std::move(future).Then(...)
#include <inferwire/future.h>

auto Use(inferwire::Future<int>& future) {
  return future.Then([](absl::StatusOr<int>) {});
}
