// expect: Async takes a unary method; Stream, Upload and Open are for those that stream
#include "stub.h"

using acme::Scorer;

auto Use(const inferwire::Client& client) { return client.Async<&Scorer::Stub::Both>(acme::Request()); }
