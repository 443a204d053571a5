// expect: Upload takes a method that streams its requests alone
#include "stub.h"

using acme::Scorer;

auto Use(const inferwire::Client& client) { return client.Upload<&Scorer::Stub::Down>(); }
