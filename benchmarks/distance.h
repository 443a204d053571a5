// SPDX-License-Identifier: Apache-2.0
//
// A server's distance: a relay that passes on what it gets after a while, in order, as a long wire does. How much is on
// its way is left to the ends.
#ifndef INFERWIRE_BENCHMARKS_DISTANCE_H_
#define INFERWIRE_BENCHMARKS_DISTANCE_H_

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "socket.h"

namespace bench {

/// What goes one way over a connection.
class Wire {
 public:
  /// `delay`: from one end to the other.
  explicit Wire(std::chrono::nanoseconds delay) : delay_(delay) {}

  /// Returns when `from` has ended, and `to` has got the last of it or has ended too.
  void Carry(Socket& from, Socket& to) {
    std::thread giver([&] { Give(to); });
    std::array<std::byte, std::size_t{64} << 10> bytes;
    std::size_t count = 0;
    do {
      count = from.ReadSome(bytes);
      Put(std::vector(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count)));
    } while (count > 0);
    giver.join();
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Piece {
    Clock::time_point due;
    std::vector<std::byte> bytes;  // none: the end
  };

  void Put(std::vector<std::byte> bytes) {
    std::lock_guard lock(mutex_);
    pieces_.push_back({Clock::now() + delay_, std::move(bytes)});
    came_.notify_one();
  }
  void Give(Socket& to) {
    for (bool goes_on = true; goes_on;) {
      std::unique_lock lock(mutex_);
      came_.wait(lock, [this] { return !pieces_.empty(); });
      const Piece piece = std::move(pieces_.front());
      pieces_.pop_front();
      lock.unlock();
      std::this_thread::sleep_until(piece.due);
      goes_on = !piece.bytes.empty() && to.TryWrite(piece.bytes);
    }
    to.Shutdown();
  }

  const std::chrono::nanoseconds delay_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<Piece> pieces_;
};

/// Passes connections on to `target`, which is as far away as `round_trip` says.
inline Listener Distance(std::string target, std::chrono::nanoseconds round_trip) {
  return Listener([=](Socket client) {
    Socket server = Socket::Connect(target);
    Wire there(round_trip / 2), back(round_trip / 2);
    std::thread other_way([&] { back.Carry(server, client); });
    there.Carry(client, server);
    other_way.join();
  });
}

}  // namespace bench

#endif  // INFERWIRE_BENCHMARKS_DISTANCE_H_
