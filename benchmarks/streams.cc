// SPDX-License-Identifier: Apache-2.0
//
// Streams of small messages: what one costs, and when the first is there.
#include <inferwire/response_stream.h>

#include <future>
#include <memory>
#include <utility>

#include "simple.h"

namespace bench {
namespace {

inference::Request Ask(int messages) {
  inference::Request request = SmallRequest();
  request.add_shape(messages);
  return request;
}

struct RawStream final : Raw {
  using Raw::Raw;
  void Make(int calls, int, Latencies& latencies) override {
    grpc::ClientContext context;
    const auto reader = stub->StreamInference(&context, Ask(calls));
    inference::Response response;
    auto from = Clock::now();
    while (reader->Read(&response)) latencies.Add(std::exchange(from, Clock::now()));
    Expect(reader->Finish());
  }
};

struct RawCallbackStream final : Raw {
  using Raw::Raw;
  struct Reader final : grpc::ClientReadReactor<inference::Response> {
    Reader(Stub& stub, int messages, Latencies& to) : request(Ask(messages)), latencies(to) {
      stub.async()->StreamInference(&context, &request, this);
      StartRead(&response);
      StartCall();
    }
    void OnReadDone(bool ok) override {
      if (!ok) return;
      latencies.Add(std::exchange(from, Clock::now()));
      StartRead(&response);
    }
    void OnDone(const grpc::Status& status) override { done.set_value(status); }

    grpc::ClientContext context;
    const inference::Request request;
    inference::Response response;
    Latencies& latencies;
    Clock::time_point from = Clock::now();
    std::promise<grpc::Status> done;
  };
  void Make(int calls, int, Latencies& latencies) override {
    Reader reader(*stub, calls, latencies);
    Expect(reader.done.get_future().get());
  }
};

struct OursStream final : Ours {
  using Ours::Ours;
  void Make(int calls, int, Latencies& latencies) override {
    auto stream = client.Stream<&Stub::StreamInference>(Ask(calls));
    auto from = Clock::now();
    for ([[maybe_unused]] inference::Response& response : stream) latencies.Add(std::exchange(from, Clock::now()));
    Expect(stream.status());
  }
};

struct OursCoroutineStream final : Ours {
  using Ours::Ours;
  static inferwire::Task<> Run(inferwire::Client& client, int messages, Latencies& latencies) {
    auto stream = client.Stream<&Stub::StreamInference>(Ask(messages));
    auto from = Clock::now();
    while (co_await stream.Next()) latencies.Add(std::exchange(from, Clock::now()));
    Expect(stream.status());
  }
  void Make(int calls, int, Latencies& latencies) override { SyncWait(Run(client, calls, latencies)); }
};

// Each call is a stream of one message; what counts is when it is there.
struct RawFirst final : Raw {
  using Raw::Raw;
  void Make(int calls, int, Latencies& latencies) override {
    for (int i = 0; i < calls; ++i) {
      const auto from = Clock::now();
      grpc::ClientContext context;
      const auto reader = stub->StreamInference(&context, Ask(1));
      inference::Response response;
      if (reader->Read(&response)) latencies.Add(from);
      while (reader->Read(&response)) {
      }
      Expect(reader->Finish());
    }
  }
};

struct OursFirst final : Ours {
  using Ours::Ours;
  void Make(int calls, int, Latencies& latencies) override {
    for (int i = 0; i < calls; ++i) {
      const auto from = Clock::now();
      auto stream = client.Stream<&Stub::StreamInference>(Ask(1));
      for ([[maybe_unused]] inference::Response& response : stream) latencies.Add(from);
      Expect(stream.status());
    }
  }
};

}  // namespace

void AddStreams(Ways& ways) {
  ways["raw_stream"] = Make<RawStream>();
  ways["raw_callback_stream"] = Make<RawCallbackStream>();
  ways["raw_first"] = Make<RawFirst>();
  ways["ours_stream"] = Make<OursStream>();
  ways["ours_coroutine_stream"] = Make<OursCoroutineStream>();
  ways["ours_first"] = Make<OursFirst>();
}

}  // namespace bench
