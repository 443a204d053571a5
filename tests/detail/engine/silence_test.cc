// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/engine/silence.h"

#include <absl/time/time.h>

#include <chrono>

#include "support/catch.h"

using inferwire::TimePoint;
using inferwire::detail::engine::Looks;
using inferwire::detail::engine::NextStep;
using inferwire::detail::engine::Pulse;
using inferwire::detail::engine::Silence;
using inferwire::detail::engine::SilenceStep;
using std::chrono::milliseconds;

TEST_CASE("a connection is dead where it is silent to a question, and another one is not", "[silence]") {
  const absl::Duration patience = absl::Milliseconds(250);
  const struct {
    bool heard;
    int unanswered;  // milliseconds
    bool heard_beside;
    SilenceStep next;
  } cases[] = {
      {true, 0, false, SilenceStep::kTrust},
      {true, 0, true, SilenceStep::kTrust},
      {true, 9000, true, SilenceStep::kTrust},
      {false, 0, false, SilenceStep::kAsk},
      {false, 0, true, SilenceStep::kAsk},  // what is not asked may just be slow
      {false, 249, true, SilenceStep::kAsk},
      {false, 250, false, SilenceStep::kAskBeside},
      {false, 600'000, false, SilenceStep::kAskBeside},  // who answers nobody has no better connection
      {false, 250, true, SilenceStep::kReplace},
  };
  for (const auto& [heard, unanswered, heard_beside, next] : cases) {
    CAPTURE(heard, unanswered, heard_beside);
    const Silence silence{.heard = heard, .unanswered = absl::Milliseconds(unanswered), .heard_beside = heard_beside};
    CHECK(NextStep(silence, patience) == next);
  }
  CHECK(NextStep({}, absl::ZeroDuration()) == SilenceStep::kAsk);
}

TEST_CASE("a call looks at its connection after a quarter of its time, and leaves enough for another", "[silence]") {
  const TimePoint now{};
  const struct {
    absl::Duration time;
    milliseconds look;      // after that; 0: never
    milliseconds patience;  // with the server
  } cases[] = {
      {absl::InfiniteDuration(), milliseconds(3000), milliseconds(1000)},
      {absl::Seconds(60), milliseconds(3000), milliseconds(1000)},
      {absl::Seconds(10), milliseconds(2500), milliseconds(1000)},
      {absl::Seconds(1), milliseconds(250), milliseconds(250)},
      {absl::Milliseconds(100), milliseconds(25), milliseconds(25)},
      {absl::Milliseconds(99), milliseconds(0), milliseconds(1000)},
  };
  for (const auto& [time, look, patience] : cases) {
    CAPTURE(absl::FormatDuration(time));
    Looks looks;
    CHECK(looks.due() == TimePoint::max());
    looks.Begin(now, time);
    CHECK(looks.due() == (look == milliseconds(0) ? TimePoint::max() : now + look));
    CHECK(looks.patience() == absl::FromChrono(patience));
  }
}

TEST_CASE("what waits for a sign of life is looked at soon, what lives later", "[silence]") {
  const TimePoint now{};
  Looks looks;
  looks.Begin(now, absl::Seconds(4));
  looks.Stop();
  looks.Again(Pulse::kHeard, now);
  CHECK(looks.due() == now + milliseconds(2000));
  looks.Again(Pulse::kWaiting, now);  // another attempt
  CHECK(looks.due() == now + milliseconds(250));
  looks.Again(Pulse::kHeard, now);
  CHECK(looks.due() == now + milliseconds(250));
  looks.Stop();
  CHECK_FALSE(looks.Ripe(now, now + milliseconds(999)));  // something came just now
  CHECK(looks.due() == now + milliseconds(1000));
  CHECK(looks.Ripe(now, now + milliseconds(1000)));
  looks.Rest(now);
  CHECK(looks.due() == now + milliseconds(1000));
}
