// expect: a time is an absl::Duration, such as absl::Seconds(5)
#include "stub.h"

using acme::Scorer;

auto Use(const inferwire::Client& client) { return client.Call<&Scorer::Stub::Unary>(acme::Request(), {.timeout = 5}); }
