// SPDX-License-Identifier: Apache-2.0
#include "inferwire/status.h"

#include <sstream>
#include <string>

#include "support/catch.h"

using inferwire::CallInfo;
using inferwire::InfoOf;

namespace {
absl::Status Failed() {
  CallInfo info;
  info.reason = CallInfo::Reason::kAttemptsExhausted;
  info.latency = absl::Milliseconds(412);
  info.attempts.push_back(
      {"a:1", "ipv4:127.0.0.1:1", absl::StatusCode::kUnavailable, "refused", absl::Milliseconds(3)});
  info.attempts.push_back({"b:2", "", absl::StatusCode::kUnavailable, "reset", absl::Milliseconds(4)});
  info.trailing_metadata = {{"k", std::string("\0\n", 2)}};
  absl::Status status = absl::UnavailableError("refused");
  inferwire::detail::AttachCallInfo(status, info, "acme.Scorer/Score at a:1, b:2");
  return status;
}
}  // namespace

TEST_CASE("a failed call's status carries its story, also when copied and moved", "[status]") {
  absl::Status moved;
  {
    const absl::Status status = Failed();
    absl::Status copy = status;
    moved = std::move(copy);
  }
  const CallInfo info = InfoOf(moved);
  CHECK(info.reason == CallInfo::Reason::kAttemptsExhausted);
  CHECK(info.latency == absl::Milliseconds(412));
  REQUIRE(info.attempts.size() == 2);
  CHECK(info.attempts[0].target == "a:1");
  CHECK(info.attempts[0].peer == "ipv4:127.0.0.1:1");
  CHECK(info.attempts[1].message == "reset");
  CHECK(info.trailing_metadata == inferwire::Metadata{{"k", std::string("\0\n", 2)}});
  CHECK(InfoOf(absl::StatusOr<int>(moved)).attempts.size() == 2);
}

TEST_CASE("a status that comes from elsewhere has an empty story", "[status]") {
  CHECK(InfoOf(absl::OkStatus()).attempts.empty());
  CHECK(InfoOf(absl::NotFoundError("x")).attempts.empty());
  absl::Status forged = absl::NotFoundError("x");
  forged.SetPayload("call", absl::Cord("2 attempts"));
  CHECK(InfoOf(forged).attempts.empty());
}

TEST_CASE("a printed status stays short and readable", "[status]") {
  std::ostringstream out;
  out << Failed();
  CHECK(out.str() == "UNAVAILABLE: refused [call='acme.Scorer/Score at a:1, b:2']");
}
