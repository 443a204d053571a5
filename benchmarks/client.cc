// SPDX-License-Identifier: Apache-2.0
//
// Makes the same calls by gRPC's own stubs or by inferwire, one way a run, and tells what they took.
#include <grpcpp/grpcpp.h>
#include <inferwire/client.h>
#include <inferwire/contract/simple.h>
#include <inferwire/inference.h>
#include <inferwire/testing/fake_server.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "batching.h"
#include "inferwire/inference.grpc.pb.h"

// ---- every heap allocation of the process, whoever makes it

#if defined(__GLIBC__)
namespace {
std::atomic<std::uint64_t> allocations{0};
}
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* malloc(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(old, size);
}
}
#else
namespace {
std::atomic<std::uint64_t> allocations{0};
}
#endif

namespace {

using Clock = std::chrono::steady_clock;
using Stub = inference::Inference::Stub;

inference::Request SmallRequest() {
  inference::Request request;
  for (int i = 0; i < 16; ++i) request.add_input(0.5f);
  return request;
}

// What the calls took. Room is made beforehand, so that the measure allocates nothing.
class Latencies {
 public:
  explicit Latencies(int calls) : microseconds_(static_cast<std::size_t>(calls)) {}
  void Add(Clock::time_point from) {
    const std::size_t at = used_.fetch_add(1, std::memory_order_relaxed);
    if (at < microseconds_.size()) {
      microseconds_[at] = std::chrono::duration<double, std::micro>(Clock::now() - from).count();
    }
  }
  double Quantile(double q) {
    std::sort(microseconds_.begin(), microseconds_.end());
    return microseconds_[static_cast<std::size_t>(q * static_cast<double>(microseconds_.size() - 1))];
  }

 private:
  std::vector<double> microseconds_;
  std::atomic<std::size_t> used_{0};
};

[[noreturn]] void Give(const std::string& up) {
  std::cerr << "inferwire-bench-client: " << up << "\n";
  std::exit(1);
}
void Expect(const grpc::Status& status) {
  if (!status.ok()) Give(status.error_message());
}
void Expect(const absl::Status& status) {
  if (!status.ok()) Give(std::string(status.message()));
}

// `body(calls)` on so many threads, together making `calls`.
void OnThreads(int threads, int calls, const std::function<void(int)>& body) {
  if (threads == 1) return body(calls);
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, n = calls / threads + (t < calls % threads ? 1 : 0)] { body(n); });
  }
  for (std::thread& thread : running) thread.join();
}

// One way of making calls: connects when made, then makes them as often as asked.
struct Way {
  virtual ~Way() = default;
  virtual void Make(int calls, int in_flight, Latencies& latencies) = 0;
};

struct Raw : Way {
  explicit Raw(const std::string& target)
      : stub(inference::Inference::NewStub(grpc::CreateChannel(target, grpc::InsecureChannelCredentials()))) {}
  static void Deadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  }
  std::unique_ptr<Stub> stub;
};

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

struct RawStream final : Raw {
  using Raw::Raw;
  void Make(int calls, int, Latencies& latencies) override {
    inference::Request request = SmallRequest();
    request.add_shape(calls);
    grpc::ClientContext context;
    const auto reader = stub->StreamInference(&context, request);
    inference::Response response;
    auto from = Clock::now();
    while (reader->Read(&response)) latencies.Add(std::exchange(from, Clock::now()));
    Expect(reader->Finish());
  }
};

struct Ours : Way {
  explicit Ours(const std::string& target, std::optional<inferwire::HedgePolicy> hedge = std::nullopt,
                inferwire::PoolPolicy pool = {})
      : client(*inferwire::Client::Create(
            {.targets = {target}, .credentials = inferwire::Insecure(), .hedge = std::move(hedge), .pool = pool})) {}
  inferwire::Client client;
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

struct OursStream final : Ours {
  using Ours::Ours;
  void Make(int calls, int, Latencies& latencies) override {
    inference::Request request = SmallRequest();
    request.add_shape(calls);
    auto stream = client.Stream<&Stub::StreamInference>(request);
    auto from = Clock::now();
    for ([[maybe_unused]] inference::Response& response : stream) latencies.Add(std::exchange(from, Clock::now()));
    Expect(stream.status());
  }
};

// A pick and its verdict, without a call: from as many targets as that.
struct OursPick final : Way {
  explicit OursPick(int targets)
      : connector({grpc::InsecureChannelCredentials(), "picks"}, {}, {}, 1000),
        pool(connector.Connect(Targets(targets)), inferwire::TargetOrder::kBalanced, {}) {}
  static std::vector<std::string> Targets(int count) {
    std::vector<std::string> out;
    for (int i = 0; i < count; ++i) out.push_back("target" + std::to_string(i) + ":1");
    return out;
  }
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      std::uint64_t state = 1;
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        auto lease = pool.Pick(nullptr, from, [&] {
          state = state * 6364136223846793005U + 1442695040888963407U;
          return static_cast<double>(state >> 11) * 0x1p-53;
        });
        lease.Return(inferwire::channel::Verdict::kAnswered, absl::Microseconds(100), from);
        latencies.Add(from);
      }
    });
  }
  inferwire::channel::Connector connector;
  inferwire::channel::Pool pool;
};

// With so many connections.
struct OursChannels final : Way {
  OursChannels(const std::string& target, int channels)
      : way(target, std::nullopt, {.min_channels = channels, .max_channels = channels}) {}
  void Make(int calls, int in_flight, Latencies& latencies) override { way.Make(calls, in_flight, latencies); }
  OursAsync way;
};

// How long after a server listens again a call is answered: it dies and comes back on the benchmarks' own server's
// port, which its relay closes and opens. Each "call" is one such time.
struct OursRecovery final : Way {
  void Make(int calls, int, Latencies& latencies) override {
    for (int i = 0; i < calls; ++i) {
      inferwire::testing::FakeServer server;
      server.On<&Stub::RunInference>().Reply(inference::Response());
      const auto client = *inferwire::Client::Create(
          {.targets = {server.target()}, .credentials = inferwire::Insecure(), .retry = {.max_attempts = 1}});
      Expect(client.Call<&Stub::RunInference>(SmallRequest()).status());
      server.Stop();
      const auto down = Clock::now() + std::chrono::seconds(3);  // so that gRPC's own backoff has grown
      while (Clock::now() < down) {
        if (client.Call<&Stub::RunInference>(SmallRequest()).ok()) Give("a server that is down has answered");
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      server.Start();
      const auto from = Clock::now();
      while (!client.Call<&Stub::RunInference>(SmallRequest()).ok()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      latencies.Add(from);
    }
  }
};

struct OursInfer final : Way {
  explicit OursInfer(const std::string& target)
      : model(inferwire::InferenceClient<inferwire::Simple>::Create(
                  {.targets = {target}, .credentials = inferwire::Insecure()})
                  ->GetModel("echo")) {}
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      std::array<float, 16> input;
      input.fill(0.5f);
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        Expect(model.Infer({{"input", std::span<const float>(input), {1, 16}}}).status());
        latencies.Add(from);
      }
    });
  }
  inferwire::Model<inferwire::Simple> model;
};

// One row each, from many callers; without options, each a call of its own.
struct OursInferMany final : Way {
  explicit OursInferMany(const std::string& target, std::optional<inferwire::BatcherOptions> batches = std::nullopt)
      : inferences(target, batches) {}
  void Make(int calls, int in_flight, Latencies& latencies) override {
    OnThreads(in_flight, calls, [&](int n) {
      for (int i = 0; i < n; ++i) {
        const auto from = Clock::now();
        Expect(inferences.Infer());
        latencies.Add(from);
      }
    });
  }
  SmallInferences inferences;
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

std::unique_ptr<Way> MakeWay(const std::string& path, const std::string& target) {
  if (path == "raw_sync") return std::make_unique<RawSync>(target);
  if (path == "raw_cq") return std::make_unique<RawQueue>(target);
  if (path == "raw_callback") return std::make_unique<RawCallback>(target);
  if (path == "raw_stream") return std::make_unique<RawStream>(target);
  if (path == "ours_call") return std::make_unique<OursCall>(target);
  if (path == "ours_async") return std::make_unique<OursAsync>(target);
  if (path == "ours_coroutine") return std::make_unique<OursCoroutine>(target);
  if (path == "ours_stream") return std::make_unique<OursStream>(target);
  if (path == "ours_infer") return std::make_unique<OursInfer>(target);
  if (path == "ours_infer_unbatched") return std::make_unique<OursInferMany>(target);
  if (path == "ours_infer_batched") {  // a batch grows while the one before is under way
    return std::make_unique<OursInferMany>(
        target, inferwire::BatcherOptions{.max_delay = absl::ZeroDuration(), .max_in_flight = 1});
  }
  if (path == "ours_infer_delayed") return std::make_unique<OursInferMany>(target, inferwire::BatcherOptions());
  if (path == "ours_pick1") return std::make_unique<OursPick>(1);
  if (path == "ours_pick3") return std::make_unique<OursPick>(3);
  if (path == "ours_pick100") return std::make_unique<OursPick>(100);
  if (path == "ours_channels1") return std::make_unique<OursChannels>(target, 1);
  if (path == "ours_channels2") return std::make_unique<OursChannels>(target, 2);
  if (path == "ours_channels4") return std::make_unique<OursChannels>(target, 4);
  if (path == "ours_recovery") return std::make_unique<OursRecovery>();
  if (path == "ours_deadline") return std::make_unique<OursDeadline>(target);
  // As many hedges as there are slow answers, and a few more.
  return std::make_unique<OursCall>(target, inferwire::HedgePolicy{.delay = absl::Milliseconds(5), .max_ratio = 0.05});
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Makes calls of sixteen floats one way, and prints what they took as JSON");
  std::string path, target;
  int calls = 1000, in_flight = 1, warm_up = 200;
  app.add_option("--path", path, "the way to call")
      ->required()
      ->check(CLI::IsMember({"raw_sync",           "raw_cq",
                             "raw_callback",       "raw_stream",
                             "ours_call",          "ours_async",
                             "ours_coroutine",     "ours_stream",
                             "ours_infer",         "ours_infer_unbatched",
                             "ours_infer_batched", "ours_infer_delayed",
                             "ours_deadline",      "ours_hedged",
                             "ours_pick1",         "ours_pick3",
                             "ours_pick100",       "ours_channels1",
                             "ours_channels2",     "ours_channels4",
                             "ours_recovery"}));
  app.add_option("--target", target, "HOST:PORT of the benchmarks' server")->required();
  app.add_option("--calls", calls, "calls, or messages of a stream")->check(CLI::PositiveNumber);
  app.add_option("--in-flight", in_flight, "how many at a time")->check(CLI::PositiveNumber);
  app.add_option("--warm-up", warm_up, "calls beforehand that do not count")->check(CLI::NonNegativeNumber);
  CLI11_PARSE(app, argc, argv);

  const std::unique_ptr<Way> way = MakeWay(path, target);
  if (warm_up > 0) {
    Latencies ignored(warm_up);
    way->Make(warm_up, in_flight, ignored);
  }
  Latencies latencies(calls);
  const std::uint64_t before = allocations;
  const auto from = Clock::now();
  way->Make(calls, in_flight, latencies);
  const double seconds = std::chrono::duration<double>(Clock::now() - from).count();
  const double allocated = static_cast<double>(allocations - before) / calls;
  std::cout << nlohmann::json{{"path", path},
                              {"calls", calls},
                              {"in_flight", in_flight},
                              {"calls_per_second", calls / seconds},
                              {"allocations_per_call", allocated},
                              {"p50_us", latencies.Quantile(0.5)},
                              {"p99_us", latencies.Quantile(0.99)},
                              {"max_us", latencies.Quantile(1)}}
                   .dump()
            << "\n";
  return 0;
}
