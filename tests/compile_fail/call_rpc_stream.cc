// expect: Call takes a unary method; Stream, Upload and Open are for those that stream
#include "stub.h"

using acme::Scorer;

auto Use(const inferwire::Client& client) {
  return client.Call<inferwire::Rpc<&Scorer::Stub::Down, "acme.v1.Scorer">>(acme::Request());
}
