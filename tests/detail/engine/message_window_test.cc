// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/engine/message_window.h"

#include <absl/time/time.h>

#include <chrono>
#include <cstddef>
#include <string>

#include "support/catch.h"

using inferwire::StreamStats;
using inferwire::TimePoint;
using inferwire::detail::engine::Inbox;
using inferwire::detail::engine::MessageWindow;
using inferwire::detail::engine::Outbox;

namespace {
TimePoint WindowAt(int ms) { return TimePoint() + std::chrono::milliseconds(ms); }
}  // namespace

TEST_CASE("a window has room by number and by bytes, and for one message of any size", "[message_window]") {
  const std::size_t kHalf = MessageWindow<std::string>::kMaxBytes / 2;
  const struct {
    const char* what;
    int messages;
    std::size_t size;
    bool room;
  } rows[] = {
      {"nothing", 0, 0, true},
      {"fifteen small ones", 15, 1, true},
      {"sixteen", 16, 0, false},
      {"half the bytes", 1, kHalf, true},
      {"all of them", 2, kHalf, false},
      {"one byte less", 2, kHalf - 1, true},
      {"one that is too large", 1, 4 * kHalf, false},
  };
  for (const auto& row : rows) {
    INFO(row.what);
    MessageWindow<std::string> window;
    for (int i = 0; i < row.messages; ++i) window.Push(std::string(row.size, 'x'));
    CHECK(window.has_room() == row.room);
    CHECK(window.bytes() == static_cast<std::size_t>(row.messages) * row.size);
    for (int i = 0; i < row.messages; ++i) CHECK(window.Pop().size() == row.size);
    CHECK(window.empty());
    CHECK(window.bytes() == 0);
    CHECK(window.has_room());
  }
}

TEST_CASE("an inbox gives messages in order, and knows when they came", "[message_window]") {
  Inbox<std::string> inbox;
  CHECK(inbox.Stats(WindowAt(0)).messages == 0);
  CHECK(!inbox.Stats(WindowAt(0)).first_message.has_value());
  CHECK(inbox.Deliver("a", WindowAt(30)));
  StreamStats stats = inbox.Stats(WindowAt(10));
  CHECK(stats.messages == 1);
  CHECK(stats.first_message == absl::Milliseconds(20));
  CHECK(stats.messages_per_second == 0);
  CHECK(inbox.Deliver("b", WindowAt(130)));
  CHECK(inbox.Deliver("c", WindowAt(230)));
  stats = inbox.Stats(WindowAt(10));
  CHECK(stats.messages == 3);
  CHECK(stats.messages_per_second == 10.0);
  CHECK(inbox.Pop() == "a");
  CHECK(inbox.Pop() == "b");
  CHECK(inbox.Stats(WindowAt(10)).messages == 3);
  inbox.Discard();
  CHECK(inbox.empty());
  CHECK(!inbox.Deliver("d", WindowAt(240)));
  CHECK(inbox.empty());
  CHECK(inbox.delivered() == 4);
}

TEST_CASE("an outbox sends what was written, then half-closes once", "[message_window]") {
  using Act = Outbox<std::string>::Act;
  Outbox<std::string> outbox;
  CHECK(outbox.Next() == Act::kNothing);
  outbox.Push("a");
  outbox.Push("b");
  outbox.CloseHalf();
  CHECK(outbox.half_closed());
  CHECK(outbox.Next() == Act::kWrite);
  CHECK(outbox.Pop() == "a");
  CHECK(outbox.Next() == Act::kWrite);
  CHECK(outbox.Pop() == "b");
  CHECK(outbox.Next() == Act::kHalfClose);
  CHECK(outbox.Next() == Act::kNothing);
}
