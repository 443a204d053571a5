// expect: Get takes the result out of the future; write std::move(future).Get()
#include <inferwire/future.h>

auto Use(inferwire::Future<int>& future) { return future.Get(); }
