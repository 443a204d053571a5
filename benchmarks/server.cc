// SPDX-License-Identifier: Apache-2.0
//
// What the benchmarks call, in a process of its own: it sends requests back as they are, so that nearly all of the time
// measured is spent in the client and in gRPC. Beside it the same over plain TCP, and as JSON over HTTP.
#include <grpcpp/alarm.h>
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "distance.h"
#include "inferwire/contract/vllm.grpc.pb.h"
#include "inferwire/inference.grpc.pb.h"
#include "server_models.h"
#include "server_rest.h"
#include "socket.h"

namespace {

class Echo final : public inference::Inference::CallbackService {
 public:
  Echo(int slow_every, std::chrono::milliseconds slow_by, std::chrono::microseconds cost)
      : slow_every_(slow_every), slow_by_(slow_by), cost_(cost) {}

  // A request that asks to never be answered, by its text "never", is not.
  grpc::ServerUnaryReactor* RunInference(grpc::CallbackServerContext* context, const inference::Request* request,
                                         inference::Response* response) override {
    *response->mutable_output() = request->input();
    if (cost_.count() > 0) {
      *response->mutable_shape() = request->shape();
      Work();
    }
    if (request->text() == "never") return new Silent;
    if (slow_every_ > 0 && count_.fetch_add(1) % slow_every_ == 0) return new Late(slow_by_);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status());
    return reactor;
  }

  // As many messages as the first dimension says.
  grpc::ServerWriteReactor<inference::Response>* StreamInference(grpc::CallbackServerContext*,
                                                                 const inference::Request* request) override {
    return new Stream(*request);
  }

 private:
  struct Silent final : grpc::ServerUnaryReactor {
    void OnCancel() override { Finish(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }
  };
  struct Late final : grpc::ServerUnaryReactor {
    explicit Late(std::chrono::milliseconds by) {
      alarm.Set(std::chrono::system_clock::now() + by, [this](bool) { Finish(grpc::Status()); });
    }
    void OnDone() override { delete this; }
    grpc::Alarm alarm;
  };
  struct Stream final : grpc::ServerWriteReactor<inference::Response> {
    explicit Stream(const inference::Request& request) : left(request.shape_size() > 0 ? request.shape(0) : 0) {
      *message.mutable_output() = request.input();
      Next();
    }
    void Next() {
      if (left-- > 0) {
        StartWrite(&message);
      } else {
        Finish(grpc::Status());
      }
    }
    void OnWriteDone(bool ok) override {
      if (!ok) left = 0;
      Next();
    }
    void OnDone() override { delete this; }
    inference::Response message;
    std::int64_t left;
  };

  // As a model that takes its time for a request, however many rows it has, and one request at a time.
  void Work() {
    std::lock_guard lock(works_);
    const auto until = std::chrono::steady_clock::now() + cost_;
    while (std::chrono::steady_clock::now() < until) {
    }
  }

  const int slow_every_;
  const std::chrono::milliseconds slow_by_;
  const std::chrono::microseconds cost_;
  std::atomic<int> count_{0};
  std::mutex works_;
};

// As many tokens of 50 bytes as there may be.
class Tokens final : public inferwire::vllm::Inference::CallbackService {
 public:
  grpc::ServerWriteReactor<inferwire::vllm::GenerateResponse>* GenerateStream(
      grpc::CallbackServerContext*, const inferwire::vllm::GenerateRequest* request) override {
    return new Stream(request->stopping().max_new_tokens());
  }

 private:
  struct Stream final : grpc::ServerWriteReactor<inferwire::vllm::GenerateResponse> {
    explicit Stream(std::uint32_t tokens) : left(tokens) {
      auto& output = *message.mutable_outputs();
      output.set_text(std::string(50, 'x'));
      output.set_num_tokens(1);
      output.add_token_ids(7);
      Next();
    }
    void Next() {
      if (left == 0) return Finish(grpc::Status());
      if (--left == 0) {
        message.mutable_outputs()->mutable_finish_info()->set_finish_reason(inferwire::vllm::FinishInfo::LENGTH);
      }
      StartWrite(&message);
    }
    void OnWriteDone(bool ok) override {
      if (!ok) left = 0;
      Next();
    }
    void OnDone() override { delete this; }
    inferwire::vllm::GenerateResponse message;
    std::uint32_t left;
  };
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "The benchmarks' server, on free ports of loopback. Tells its targets, of gRPC, of plain TCP and of REST, and "
      "ends "
      "when its input does");
  int slow_every = 0;
  int slow_ms = 50;
  int cost_us = 0;
  int rtt_ms = -1;
  app.add_option("--slow-every", slow_every, "every so many unary calls, one is late")->check(CLI::NonNegativeNumber);
  app.add_option("--slow-ms", slow_ms, "by so many milliseconds")->check(CLI::NonNegativeNumber);
  app.add_option("--cost-us", cost_us, "what a unary call costs beside, one at a time, whatever is in it")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--rtt-ms", rtt_ms, "be so far away, and have gRPC's default windows")->check(CLI::NonNegativeNumber);
  CLI11_PARSE(app, argc, argv);

  Echo echo(slow_every, std::chrono::milliseconds(slow_ms), std::chrono::microseconds(cost_us));
  bench::ModelService models;
  const bench::Listener tcp(bench::ServeTcp);
  const bench::RestServer rest;
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(-1);
  if (rtt_ms < 0) {
    // So that large messages wait for the client: no window that grows by and by, frames of any size.
    builder.AddChannelArgument("grpc.http2.bdp_probe", 0);
    builder.AddChannelArgument("grpc.http2.lookahead_bytes", 16 << 20);
    builder.AddChannelArgument("grpc.http2.max_frame_size", (1 << 24) - 1);
  }
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  Tokens tokens;
  builder.RegisterService(&echo);
  builder.RegisterService(&tokens);
  builder.RegisterCallbackGenericService(&models);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::cerr << "inferwire-bench-server: cannot listen on 127.0.0.1\n";
    return 1;
  }
  std::optional<bench::Listener> distant;
  if (rtt_ms >= 0) {
    distant = bench::Distance("127.0.0.1:" + std::to_string(port), std::chrono::milliseconds(rtt_ms));
  }
  std::cout << "127.0.0.1:" << (distant ? distant->port() : port) << " 127.0.0.1:" << tcp.port()
            << " 127.0.0.1:" << rest.port() << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) {
  }
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}
