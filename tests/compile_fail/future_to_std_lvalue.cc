// expect: ToStd uses the future up; write std::move(future).ToStd()
#include <inferwire/future.h>

auto Use(inferwire::Future<int>& future) { return future.ToStd(); }
