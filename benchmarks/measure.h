// SPDX-License-Identifier: Apache-2.0
//
// What the ways of calling have in common, and what is measured of them.
#ifndef INFERWIRE_BENCHMARKS_MEASURE_H_
#define INFERWIRE_BENCHMARKS_MEASURE_H_

#include <absl/status/status.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

/// Heap allocations of the process so far.
std::uint64_t Allocations();
/// Memory of the process that is resident now, and the most that was since ForgetPeak. 0 where the system does not say.
double ResidentBytes();
double PeakBytes();
void ForgetPeak();

/// What the calls took. Room is made beforehand, so that the measure allocates nothing.
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

[[noreturn]] inline void Give(const std::string& up) {
  std::cerr << "inferwire-bench-client: " << up << "\n";
  std::exit(1);
}
inline void Expect(const grpc::Status& status) {
  if (!status.ok()) Give(status.error_message());
}
inline void Expect(const absl::Status& status) {
  if (!status.ok()) Give(std::string(status.message()));
}

/// `body(calls)` on so many threads, together making `calls`.
inline void OnThreads(int threads, int calls, const std::function<void(int)>& body) {
  if (threads == 1) return body(calls);
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, n = calls / threads + (t < calls % threads ? 1 : 0)] { body(n); });
  }
  for (std::thread& thread : running) thread.join();
}

/// One way of making calls: connects when made, then makes them as often as asked.
struct Way {
  virtual ~Way() = default;
  virtual void Make(int calls, int in_flight, Latencies& latencies) = 0;
  /// What each call leaves in memory with the caller that was not there before: answers that are kept as they came.
  virtual double KeptBytes() const { return 0; }
};

/// Whom to call, and with tensors of how many bytes.
struct Aim {
  std::string target;
  std::size_t bytes = 64;
};
using MakeWay = std::function<std::unique_ptr<Way>(const Aim&)>;
/// By name.
using Ways = std::map<std::string, MakeWay>;

template <class W>
MakeWay Make() {
  return [](const Aim& aim) { return std::make_unique<W>(aim); };
}

// One idea of calling each.
void AddUnary(Ways& ways);
void AddStreams(Ways& ways);
void AddTokens(Ways& ways);
void AddPools(Ways& ways);
void AddBatching(Ways& ways);
void AddInference(Ways& ways);
void AddTensors(Ways& ways);
void AddRest(Ways& ways);

}  // namespace bench

#endif  // INFERWIRE_BENCHMARKS_MEASURE_H_
