// expect: Open takes a method that streams both ways
#include "stub.h"

using acme::Scorer;

auto Use(const inferwire::Client& client) { return client.Open<&Scorer::Stub::Unary>(); }
