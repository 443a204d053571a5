// SPDX-License-Identifier: Apache-2.0
//
// Makes the same calls by gRPC's own stubs or by inferwire, one way a run, and tells what they took.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "measure.h"

namespace {

// Of all threads: those that waited, and those that had to make room.
long ContextSwitches() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nvcsw + usage.ru_nivcsw;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Ways ways;
  bench::AddUnary(ways);
  bench::AddStreams(ways);
  bench::AddTokens(ways);
  bench::AddPools(ways);
  bench::AddBatching(ways);
  bench::AddInference(ways);
  bench::AddTensors(ways);
  bench::AddRest(ways);

  CLI::App app("Makes calls one way, and prints what they took as JSON");
  std::string path;
  bench::Aim aim;
  int calls = 1000, in_flight = 1, warm_up = 200;
  app.add_option("--path", path, "the way to call")
      ->required()
      ->check(CLI::Validator([&](std::string& name) { return ways.contains(name) ? "" : "no way '" + name + "'"; },
                             "WAY", "way"));
  app.add_option("--target", aim.target, "HOST:PORT of the benchmarks' server")->required();
  app.add_option("--bytes", aim.bytes, "of a tensor, where its size is the question")->check(CLI::PositiveNumber);
  app.add_option("--calls", calls, "calls, or messages of a stream")->check(CLI::PositiveNumber);
  app.add_option("--in-flight", in_flight, "how many at a time")->check(CLI::PositiveNumber);
  app.add_option("--warm-up", warm_up, "calls beforehand that do not count")->check(CLI::NonNegativeNumber);
  CLI11_PARSE(app, argc, argv);

  const std::unique_ptr<bench::Way> way = ways[path](aim);
  if (warm_up > 0) {
    bench::Latencies ignored(warm_up);
    way->Make(warm_up, in_flight, ignored);
  }
  bench::Latencies latencies(calls);
  const double resident = bench::ResidentBytes();
  bench::ForgetPeak();
  const std::uint64_t allocations = bench::Allocations();
  const long switches = ContextSwitches();
  const auto from = bench::Clock::now();
  way->Make(calls, in_flight, latencies);
  const double seconds = std::chrono::duration<double>(bench::Clock::now() - from).count();
  const auto per_call = [&](auto count) { return static_cast<double>(count) / calls; };
  const double allocated = per_call(bench::Allocations() - allocations);
  const double switched = per_call(ContextSwitches() - switches);
  const double beyond = std::max(0.0, bench::PeakBytes() - resident - way->KeptBytes());
  std::cout << nlohmann::json{{"path", path},
                              {"calls", calls},
                              {"in_flight", in_flight},
                              {"calls_per_second", calls / seconds},
                              {"allocations_per_call", allocated},
                              {"switches_per_call", switched},
                              {"peak_beyond_payload", beyond / static_cast<double>(aim.bytes)},
                              {"p50_us", latencies.Quantile(0.5)},
                              {"p99_us", latencies.Quantile(0.99)},
                              {"max_us", latencies.Quantile(1)}}
                   .dump()
            << "\n";
  return 0;
}
