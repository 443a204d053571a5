// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/engine/effective_options.h"

#include <absl/status/status.h>
#include <absl/time/time.h>

#include "support/catch.h"

using inferwire::BearerToken;
using inferwire::CallOptions;
using inferwire::ClientOptions;
using inferwire::Compression;
using inferwire::HedgePolicy;
using inferwire::RetryPolicy;
using inferwire::detail::engine::EffectiveOptions;
using inferwire::detail::engine::Resolve;

TEST_CASE("the client's options are in force where the call has none of its own", "[effective_options]") {
  ClientOptions client;
  client.attempt_timeout = absl::Seconds(2);
  client.idle_timeout = absl::Seconds(3);
  client.first_message_timeout = absl::Seconds(4);
  client.idempotent = false;
  client.compression = Compression::kGzip;
  client.hedge = HedgePolicy{.max_hedges = 2};
  client.token = BearerToken("t");
  const CallOptions call;
  const EffectiveOptions found = Resolve(client, call);
  CHECK(found.attempt_timeout == absl::Seconds(2));
  CHECK(found.idle_timeout == absl::Seconds(3));
  CHECK(found.first_message_timeout == absl::Seconds(4));
  CHECK(!found.idempotent);
  CHECK(found.compression == Compression::kGzip);
  CHECK(&found.retry == &client.retry);
  CHECK(found.hedge == &*client.hedge);
  CHECK(found.token == &*client.token);
}

TEST_CASE("the call's own options come first, one by one", "[effective_options]") {
  ClientOptions client;
  client.token = BearerToken("t");
  CallOptions call;
  call.attempt_timeout = absl::Seconds(2);
  call.idempotent = false;
  call.compression = Compression::kDeflate;
  call.retry = RetryPolicy{.max_attempts = 7};
  call.hedge = HedgePolicy{.max_hedges = 2};
  call.token = BearerToken("own");
  const EffectiveOptions found = Resolve(client, call);
  CHECK(found.attempt_timeout == absl::Seconds(2));
  CHECK(found.idle_timeout == client.idle_timeout);
  CHECK(!found.idempotent);
  CHECK(found.compression == Compression::kDeflate);
  CHECK(&found.retry == &*call.retry);
  CHECK(found.hedge == &*call.hedge);
  CHECK(found.token == &*call.token);
}

TEST_CASE("an authorization of the call's stands in for the client's token, not for the call's",
          "[effective_options]") {
  ClientOptions client;
  client.token = BearerToken("t");
  CallOptions call;
  call.metadata = {{"authorization", "Basic abc"}};
  CHECK(Resolve(client, call).token == nullptr);
  call.token = BearerToken("own");
  CHECK(Resolve(client, call).token == &*call.token);
  CHECK(Resolve(ClientOptions(), CallOptions()).token == nullptr);
  CHECK(Resolve(ClientOptions(), CallOptions()).hedge == nullptr);
}
