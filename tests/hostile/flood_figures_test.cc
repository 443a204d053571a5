// SPDX-License-Identifier: Apache-2.0
//
// What floods do to a client, and to a raw stub in its place, as lines of a table: no test, but run by its name. The
// columns: how late the latest good call was, good calls, those that failed, how long the longest call of 700 ms took
// that the flood answered, and by how much memory grew.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "support/floods.h"
#include "support/inference.h"
#include "support/memory.h"

using inferwire::Client;
using namespace inferwire_test;  // NOLINT

namespace {

using Clock = std::chrono::steady_clock;

using Call = std::function<bool(std::chrono::milliseconds timeout)>;

// Calls in turn to a good server, the latest of which tells how late they are, beside three that a flood answers.
void Measure(const std::string& client, const std::string& flood, const Call& good, const Call& flooded) {
  const PeakGrowth memory;
  std::atomic<bool> done{false};
  std::chrono::microseconds latest{0};
  int failed = 0, calls = 0;
  std::thread beside([&] {
    while (!done) {
      const auto from = Clock::now();
      failed += good(std::chrono::seconds(5)) ? 0 : 1;
      latest = (std::max)(latest, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - from));
      ++calls;
    }
  });
  std::chrono::milliseconds own{0};
  for (int i = 0; i < 3; ++i) {
    const auto from = Clock::now();
    flooded(std::chrono::milliseconds(700));
    own = (std::max)(own, Since(from));
  }
  done = true;
  beside.join();
  std::printf("%-40s %-18s %8.1f %10d %8d %10lld %8.1f\n", flood.c_str(), client.c_str(),
              static_cast<double>(latest.count()) / 1e3, calls, failed, static_cast<long long>(own.count()),
              static_cast<double>(memory.bytes()) / (1 << 20));
  std::fflush(stdout);
}

}  // namespace

// A section each, since what a flood holds may never end: `inferwire_tests "figures*" -c "PING, raw stub"`.
TEST_CASE("figures: good calls beside floods", "[.figures]") {
  RawHttp2Server good([](RawHttp2Stream& stream) { stream.Answer(Answer("x")); });
  for (const Flood& flood : kFloods) {
    RawHttp2Server bad([&](RawHttp2Stream& stream) { flood.Run(stream); });
    for (const bool futures : {false, true}) {
      const std::string name = futures ? "inferwire, future" : "inferwire";
      DYNAMIC_SECTION(flood.name << ", " << name) {
        const Client client = Connect(good.target()), victim = Connect(bad.target());
        const auto call = [futures](const Client& to) {
          return [&to, futures](std::chrono::milliseconds timeout) {
            const inferwire::CallOptions options{.timeout = absl::FromChrono(timeout)};
            return futures ? to.Async<&Inference::RunInference>(Text("x"), options).Get().ok()
                           : to.Call<&Inference::RunInference>(Text("x"), options).ok();
          };
        };
        Measure(name, flood.name, call(client), call(victim));
      }
    }
    DYNAMIC_SECTION(flood.name << ", raw stub") {
      const auto stub = [](const RawHttp2Server& server) {
        return std::shared_ptr(
            inference::Inference::NewStub(grpc::CreateChannel(server.target(), grpc::InsecureChannelCredentials())));
      };
      const auto call = [](std::shared_ptr<inference::Inference::Stub> to) {
        return [to](std::chrono::milliseconds timeout) {
          grpc::ClientContext context;
          context.set_deadline(std::chrono::system_clock::now() + timeout);
          inference::Response response;
          return to->RunInference(&context, Text("x"), &response).ok();
        };
      };
      Measure("raw stub", flood.name, call(stub(good)), call(stub(bad)));
    }
  }
}
