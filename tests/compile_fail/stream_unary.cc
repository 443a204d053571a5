// expect: Stream takes a method that streams its responses alone
#include "stub.h"

using acme::Scorer;

auto Use(const inferwire::Client& client) { return client.Stream<&Scorer::Stub::Unary>(acme::Request()); }
