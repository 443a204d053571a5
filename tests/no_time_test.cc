// SPDX-License-Identifier: Apache-2.0
//
// What is said where there was no time: to connect, or at all.
#include <string>
#include <vector>

#include "support/inference.h"
#include "support/sockets.h"

using inferwire::Client;
using namespace inferwire_test;  // NOLINT

TEST_CASE("a peer that says nothing while it is connected to is told from one that refuses", "[no_time]") {
  const SilentServer silent;
  CHECK(Contains(Connect(silent.target()).WaitUntilReady(absl::Milliseconds(300)),
                 "no connection within 300ms to " + silent.target() +
                     " (nothing was heard of it so far, where connecting may take the connect_timeout of 3s)"));
  CHECK(Contains(Connect(silent.target(), {.connection = {.connect_timeout = absl::Seconds(7)}})
                     .WaitUntilReady(absl::Milliseconds(50)),
                 "the connect_timeout of 7s"));
}

TEST_CASE("waiting to be ready for no time does not wait", "[no_time]") {
  const SilentServer silent;
  const Client client = Connect(silent.target());
  for (const absl::Duration none : {absl::ZeroDuration(), -absl::Seconds(1), -absl::InfiniteDuration()}) {
    const absl::Status status = client.WaitUntilReady(none);
    CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
    CHECK(Contains(status, "no connection within " + absl::FormatDuration(none) + " to " + silent.target()));
  }
}

TEST_CASE("a time that is none, or next to none, is quoted as it was given", "[no_time]") {
  const SilentServer silent;
  const Client client = Connect(silent.target());
  const struct {
    absl::Duration timeout;
    std::string text;
  } cases[] = {{absl::ZeroDuration(), "the timeout is 0"},
               {-absl::Seconds(2), "the timeout is -2s"},
               {-absl::InfiniteDuration(), "the timeout is -inf"},
               {absl::Nanoseconds(1) / 4, "no end within the timeout of 0.25ns"},
               {absl::Nanoseconds(1), "no end within the timeout of 1ns"}};
  for (const auto& [timeout, text] : cases) {
    CAPTURE(text);
    CHECK(Contains(client.Call<&Inference::RunInference>(Text("x"), {.timeout = timeout}).status(), text));
    CHECK(Contains(client.Async<&Inference::RunInference>(Text("x"), {.timeout = timeout}).Get().status(), text));
    auto stream = client.Stream<&Inference::StreamInference>(Text("x"), {.timeout = timeout});
    CHECK_FALSE(stream.Read().has_value());
    CHECK(Contains(stream.status(), text));
    CHECK(Contains(client.Open<&Inference::Converse>({.timeout = timeout}).Finish(), text));
    CHECK(Contains(client.Upload<&Inference::UploadInference>({.timeout = timeout}).Finish().status(), text));
  }
}
