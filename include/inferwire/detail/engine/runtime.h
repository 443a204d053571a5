// SPDX-License-Identifier: Apache-2.0
//
// The threads that turn loops for calls nobody blocks on.
#ifndef INFERWIRE_DETAIL_ENGINE_RUNTIME_H_
#define INFERWIRE_DETAIL_ENGINE_RUNTIME_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/detail/base/process.h"
#include "inferwire/detail/channel/keeper.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

/// A few threads, each turning a loop of its own. One runtime serves all clients of the process; it starts with the
/// first call that needs it and ends with the last client. No user code runs on the threads that turn loops.
class Runtime {
 public:
  static std::shared_ptr<Runtime> Shared() {
    struct Slot {
      std::mutex mutex;
      std::weak_ptr<Runtime> runtime;
    };
    Slot& slot = detail::OfThisProcess<Slot>();
    std::lock_guard lock(slot.mutex);
    std::shared_ptr<Runtime> runtime = slot.runtime.lock();
    if (runtime == nullptr) slot.runtime = runtime = std::make_shared<Runtime>();
    return runtime;
  }

  Runtime() {
    for (std::size_t i = LoopCount(); i > 0; --i) workers_.emplace_back(new Worker);
  }

  /// Threads for what would hold up a loop. They start with the first of it, are nobody else's, and so are there
  /// whatever the executors of the clients do.
  Executor& decoders() {
    std::call_once(decoders_once_, [this] { decoders_.emplace(std::clamp<std::size_t>(workers_.size(), 2, 4)); });
    return *decoders_;
  }

  /// Loops in turn.
  Loop& NextLoop() { return *workers_[next_.fetch_add(1, std::memory_order_relaxed) % workers_.size()]->loop; }

 private:
  static constexpr std::size_t kMostLoops = 64;

  // Half the processors: the other half is for those who use the results. gRPC's own callback threads count alike.
  // INFERWIRE_LOOPS is for tests: what happens between two loops does not happen where there is one.
  static std::size_t LoopCount() {
    if (const char* const given = std::getenv("INFERWIRE_LOOPS"); given != nullptr) {
      if (const unsigned long count = std::strtoul(given, nullptr, 10); count > 0) {
        return (std::min)(static_cast<std::size_t>(count), kMostLoops);
      }
    }
    return std::clamp<std::size_t>(std::thread::hardware_concurrency() / 2, 1, 8);
  }

  // Whoever turns a loop may be held by a peer, or by what it takes to unpack an answer: then another one turns it
  // until the first is back. One that is held itself is followed by a third, and so on to a few.
  class Visits final : public detail::Visits, public std::enable_shared_from_this<Visits> {
   public:
    explicit Visits(std::shared_ptr<std::weak_ptr<Loop>> loop, int depth = 0) : loop_(std::move(loop)), depth_(depth) {}

    void OnHeld() override {
      constexpr int kMost = 4;
      if (depth_ == kMost || helped_.exchange(true)) return;
      if (!detail::StartThread([self = shared_from_this(), held = count()] { self->Help(held); })) {
        helped_ = false;  // asked again soon
      }
    }

   private:
    void Help(std::uint64_t held) {
      constexpr std::chrono::milliseconds kLook{5};
      detail::CurrentThread().serves_grpc = true;
      if (const std::shared_ptr<Loop> loop = loop_->lock()) {
        const auto own = std::make_shared<Visits>(loop_, depth_ + 1);
        detail::Keeper::Instance().Watch(own);
        loop->Assist(*own, kLook, [&] { return count() == held; });
      }
      helped_ = false;
    }

    const std::shared_ptr<std::weak_ptr<Loop>> loop_;  // which is made with these
    const int depth_;
    std::atomic<bool> helped_{false};
  };
  static std::shared_ptr<Loop> MakeLoop() {
    const auto self = std::make_shared<std::weak_ptr<Loop>>();
    auto loop = std::make_shared<Loop>(std::make_shared<Visits>(self));
    *self = loop;
    return loop;
  }

  struct Worker {
    Worker() {
      std::promise<void> exit;
      exited = exit.get_future();
      // The thread owns the loop too: what a stuck peer holds may outlive the runtime.
      thread = std::thread([loop = loop, exit = std::move(exit)]() mutable {
        detail::CurrentThread().serves_grpc = true;
        while (loop->RunOne()) {
        }
        loop.reset();
        exit.set_value();
      });
    }
    ~Worker() {
      loop->Shutdown();
      loop.reset();
      const bool own = thread.get_id() == std::this_thread::get_id();
      if (!own && exited.wait_for(std::chrono::milliseconds(200)) == std::future_status::ready) {
        thread.join();
      } else {
        thread.detach();
      }
    }
    std::shared_ptr<Loop> loop = MakeLoop();
    std::thread thread;
    std::future<void> exited;
  };

  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<std::size_t> next_{0};
  std::once_flag decoders_once_;
  std::optional<ThreadPool> decoders_;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_RUNTIME_H_
