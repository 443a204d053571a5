// SPDX-License-Identifier: Apache-2.0
//
// The threads that turn loops for calls nobody blocks on.
#ifndef INFERWIRE_ENGINE_RUNTIME_H_
#define INFERWIRE_ENGINE_RUNTIME_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/engine/loop.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {
namespace engine {

/// A few threads, each turning a loop of its own. One runtime serves all clients of the process; it starts with the
/// first call that needs it and ends with the last client. No user code runs on its threads.
class Runtime {
 public:
  static std::shared_ptr<Runtime> Shared() {
    // Never destroyed: a client may outlive static storage.
    struct Slot {
      std::mutex mutex;
      std::weak_ptr<Runtime> runtime;
    };
    static Slot* const slot = new Slot;
    std::lock_guard lock(slot->mutex);
    std::shared_ptr<Runtime> runtime = slot->runtime.lock();
    if (runtime == nullptr) slot->runtime = runtime = std::make_shared<Runtime>();
    return runtime;
  }

  Runtime() {
    // Half the processors: the other half is for those who use the results. gRPC's own callback threads count alike.
    const std::size_t count = std::clamp<std::size_t>(std::thread::hardware_concurrency() / 2, 1, 8);
    for (std::size_t i = 0; i < count; ++i) workers_.emplace_back(new Worker);
  }

  /// Loops in turn.
  Loop& NextLoop() { return *workers_[next_.fetch_add(1, std::memory_order_relaxed) % workers_.size()]->loop; }

 private:
  struct Worker {
    Worker() {
      std::promise<void> exit;
      exited = exit.get_future();
      // The thread owns the loop too: what a stuck peer holds may outlive the runtime.
      thread = std::thread([loop = loop, exit = std::move(exit)]() mutable {
        detail::CurrentThread().serves_grpc = true;
        while (loop->Turn()) {
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
    std::shared_ptr<Loop> loop = std::make_shared<Loop>();
    std::thread thread;
    std::future<void> exited;
  };

  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace engine
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_ENGINE_RUNTIME_H_
