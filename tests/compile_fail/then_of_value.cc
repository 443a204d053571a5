// expect: Then takes a function of an absl::StatusOr<T>, such as
#include <inferwire/future.h>

auto Use(inferwire::Future<int> future) {
  return std::move(future).Then([](int value) { return value; });
}
