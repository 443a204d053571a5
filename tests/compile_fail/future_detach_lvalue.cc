// expect: Detach uses the future up; write std::move(future).Detach()
#include <inferwire/future.h>

void Use(const inferwire::Future<int>& future) { future.Detach(); }
