// SPDX-License-Identifier: Apache-2.0
//
// Small unary calls, by gRPC's own stubs and by a Client.
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "simple.h"

namespace bench {
namespace {

struct RawSync final : Raw {
  using Raw::Raw;
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        const inference::Request request = SmallRequest();
        inference::Response response;
        grpc::ClientContext context;
        Deadline(context);
        Expect(stub->RunInference(&context, request, &response));
        latencies.Add(from);
      }
    });
  }
};

struct RawQueue final : Raw {
  using Raw::Raw;
  struct One {
    Clock::time_point from = Clock::now();
    grpc::ClientContext context;
    inference::Response response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<inference::Response>> reader;
  };
  void Make(int calls, int in_flight, Latencies& latencies) override {
    grpc::CompletionQueue queue;
    const auto start = [&] {
      const inference::Request request = SmallRequest();
      auto* const one = new One;
      Deadline(one->context);
      one->reader = stub->AsyncRunInference(&one->context, request, &queue);
      one->reader->Finish(&one->response, &one->status, one);
    };
    int started = 0;
    for (; started < std::min(calls, in_flight); ++started) start();
    void* tag = nullptr;
    bool ok = false;
    for (int done = 0; done < calls && queue.Next(&tag, &ok); ++done) {
      const std::unique_ptr<One> one(static_cast<One*>(tag));
      Expect(one->status);
      latencies.Add(one->from);
      if (started < calls) start(), ++started;
    }
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
  }
};

struct RawCallback final : Raw {
  using Raw::Raw;
  struct One {
    Clock::time_point from = Clock::now();
    inference::Request request = SmallRequest();
    grpc::ClientContext context;
    inference::Response response;
  };
  void Make(int calls, int in_flight, Latencies& latencies) override {
    std::mutex mutex;
    std::condition_variable changed;
    int flying = 0;
    std::unique_lock lock(mutex);
    for (int i = 0; i < calls; ++i) {
      changed.wait(lock, [&] { return flying < in_flight; });
      ++flying;
      lock.unlock();
      auto* const one = new One;
      Deadline(one->context);
      stub->async()->RunInference(&one->context, &one->request, &one->response, [&, one](grpc::Status status) {
        Expect(status);
        latencies.Add(one->from);
        delete one;
        std::lock_guard done(mutex);
        --flying;
        changed.notify_one();
      });
      lock.lock();
    }
    changed.wait(lock, [&] { return flying == 0; });
  }
};

struct OursCall final : Ours {
  using Ours::Ours;
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        Expect(client.Call<&Stub::RunInference>(SmallRequest()).status());
        latencies.Add(from);
      }
    });
  }
};

struct OursAsync final : Ours {
  using Ours::Ours;
  void Make(int calls, int in_flight, Latencies& latencies) override {
    struct One {
      Clock::time_point from;
      inferwire::Future<inference::Response> future;
    };
    std::deque<One> flying;
    for (int i = 0; i < calls || !flying.empty(); ++i) {
      if (i < calls) flying.push_back({Clock::now(), client.Async<&Stub::RunInference>(SmallRequest())});
      if (i < calls && flying.size() < static_cast<std::size_t>(in_flight)) continue;
      Expect(std::move(flying.front().future).Get().status());
      latencies.Add(flying.front().from);
      flying.pop_front();
    }
  }
};

struct OursCoroutine final : Ours {
  using Ours::Ours;
  static inferwire::Task<> Run(inferwire::Client& client, int calls, Latencies& latencies) {
    for (int i = 0; i < calls; ++i) {
      const auto from = Clock::now();
      Expect((co_await client.Async<&Stub::RunInference>(SmallRequest())).status());
      latencies.Add(from);
    }
  }
  void Make(int calls, int, Latencies& latencies) override { SyncWait(Run(client, calls, latencies)); }
};

// Calls that are never answered: what is measured is by how much they exceed their deadline, of 50 ms.
struct OursDeadline final : Ours {
  using Ours::Ours;
  void Make(int calls, int in_flight, Latencies& latencies) override {
    inference::Request request = SmallRequest();
    request.set_text("never");
    OnThreads(in_flight, calls, [&](int n) {
      for (int i = 0; i < n; ++i) {
        const auto due = Clock::now() + std::chrono::milliseconds(50);
        const auto reply = client.Call<&Stub::RunInference>(request, {.timeout = absl::Milliseconds(50)});
        if (reply.status().code() != absl::StatusCode::kDeadlineExceeded) Give("expected DEADLINE_EXCEEDED");
        latencies.Add(due);
      }
    });
  }
};

}  // namespace

void AddUnary(Ways& ways) {
  ways["raw_sync"] = Make<RawSync>();
  ways["raw_cq"] = Make<RawQueue>();
  ways["raw_callback"] = Make<RawCallback>();
  ways["ours_call"] = Make<OursCall>();
  ways["ours_async"] = Make<OursAsync>();
  ways["ours_coroutine"] = Make<OursCoroutine>();
  ways["ours_deadline"] = Make<OursDeadline>();
  for (const int channels : {1, 2, 4}) {
    ways["ours_channels" + std::to_string(channels)] = [channels](const Aim& aim) {
      return std::make_unique<OursAsync>(aim, std::nullopt,
                                         inferwire::PoolPolicy{.min_channels = channels, .max_channels = channels});
    };
  }
  // As many hedges as there are slow answers, and a few more.
  ways["ours_hedged"] = [](const Aim& aim) {
    return std::make_unique<OursCall>(aim, inferwire::HedgePolicy{.delay = absl::Milliseconds(5), .max_ratio = 0.05});
  };
}

}  // namespace bench
