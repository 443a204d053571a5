// SPDX-License-Identifier: Apache-2.0
//
// A real gRPC server inside a test's process, whose methods answer, fail, stall and drop calls as the test scripts
// them.
#ifndef INFERWIRE_TESTING_FAKE_SERVER_H_
#define INFERWIRE_TESTING_FAKE_SERVER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/cord.h>
#include <absl/strings/string_view.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>
#include <google/protobuf/message_lite.h>
#include <grpc/grpc.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/testing/relay.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/detail/wire/writer.h"
#include "inferwire/rpc.h"
#include "inferwire/status.h"
#include "inferwire/testing/script.h"
#include "inferwire/testing/server_call.h"

namespace inferwire {
inline namespace v0 {
namespace testing {

/// A gRPC server on a free port of loopback, from its construction to its destruction. Methods without a script fail
/// with UNIMPLEMENTED. All of it is thread-safe, save for construction and destruction; methods are named as in
/// Client::Call, by `&Service::Stub::Method` or an Rpc.
///
/// Each call has a thread of the server's. Destruction resets all connections and waits for those threads. Requests and
/// metadata are kept until then.
///
/// POSIX only. Under ThreadSanitizer, suppress what a gRPC that is not instrumented itself makes it report.
class FakeServer final : private grpc::CallbackGenericService {
 public:
  struct Options {
    std::shared_ptr<grpc::ServerCredentials> credentials = nullptr;  ///< plaintext if not set
  };

  FakeServer() : FakeServer(Options{}) {}
  /// Ends the process where the server cannot listen.
  explicit FakeServer(const Options& options) {
    {
      std::lock_guard lock(mutex_);  // what is made so far is seen by those who lock it later, whoever starts them
    }
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(
        "127.0.0.1:0", options.credentials != nullptr ? options.credentials : grpc::InsecureServerCredentials(), &port);
    builder.RegisterCallbackGenericService(this);
    builder.SetMaxReceiveMessageSize(-1);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      std::fprintf(stderr, "inferwire: the fake server cannot listen on 127.0.0.1\n");
      std::abort();
    }
    relay_ = std::make_unique<Relay>(port);
  }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;
  ~FakeServer() override {
    relay_->Stop();
    server_->Shutdown(std::chrono::system_clock::now());
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return running_ == 0; });
    lock.unlock();
    if (ended_.joinable()) ended_.join();
  }

  /// "127.0.0.1:PORT", the same for the server's whole life.
  std::string target() const { return detail::Cat("127.0.0.1:", relay_->port()); }

  /// Begins a new script for the method. It must not outlive the server.
  template <RpcType R>
  Script<R> On() {
    return Script<R>([this](std::shared_ptr<Plan> plan) {
      std::lock_guard lock(mutex_);
      plans_[R::path()] = std::move(plan);
    });
  }
  template <auto Method>
  auto On() {
    return On<Rpc<Method>>();
  }

  // ---- what came in; a call counts from its arrival, whether or not there is a script

  template <RpcType R>
  int calls() const {
    return ledger_.Read(R::path(), [](const Ledger::Entry& entry) { return entry.calls; });
  }
  template <auto Method>
  int calls() const {
    return calls<Rpc<Method>>();
  }
  /// Calls that the client cancelled or left, or whose deadline passed. Not those that the server cut off.
  template <RpcType R>
  int cancelled() const {
    return ledger_.Read(R::path(), [](const Ledger::Entry& entry) { return entry.cancelled; });
  }
  template <auto Method>
  int cancelled() const {
    return cancelled<Rpc<Method>>();
  }
  /// The requests that the script read, without those that do not parse. The one of a unary call or of one that streams
  /// its responses is always read; without a script none is.
  template <RpcType R>
  std::vector<typename R::Request> requests() const {
    std::vector<typename R::Request> out;
    for (const std::string& bytes :
         ledger_.Read(R::path(), [](const Ledger::Entry& entry) { return entry.requests; })) {
      typename R::Request request;
      if (request.ParseFromString(bytes)) out.push_back(std::move(request));
    }
    return out;
  }
  template <auto Method>
  auto requests() const {
    return requests<Rpc<Method>>();
  }
  /// The metadata of each call, as its client sent it; by key.
  template <RpcType R>
  std::vector<Metadata> metadata() const {
    return ledger_.Read(R::path(), [](const Ledger::Entry& entry) { return entry.metadata; });
  }
  template <auto Method>
  std::vector<Metadata> metadata() const {
    return metadata<Rpc<Method>>();
  }
  /// TCP connections accepted in all.
  int connections() const { return relay_->accepted(); }
  int open_connections() const { return relay_->open(); }

  /// Until the method was called `count` times; false if that takes longer than `within`.
  template <RpcType R>
  bool WaitForCalls(int count, absl::Duration within = absl::Seconds(10)) {
    return ledger_.Wait(R::path(), within, [&](const Ledger::Entry& entry) { return entry.calls >= count; });
  }
  template <auto Method>
  bool WaitForCalls(int count, absl::Duration within = absl::Seconds(10)) {
    return WaitForCalls<Rpc<Method>>(count, within);
  }
  /// Until cancelled() is at least `count`; false if that takes longer than `within`.
  template <RpcType R>
  bool WaitForCancelled(int count, absl::Duration within = absl::Seconds(10)) {
    return ledger_.Wait(R::path(), within, [&](const Ledger::Entry& entry) { return entry.cancelled >= count; });
  }
  template <auto Method>
  bool WaitForCancelled(int count, absl::Duration within = absl::Seconds(10)) {
    return WaitForCancelled<Rpc<Method>>(count, within);
  }

  // ---- the server as a whole; done when they return

  /// As if it had died: connections are reset, new ones refused. Scripts and counts stay.
  void Stop() { relay_->Stop(); }
  /// Listens again, on the same port.
  void Start() { relay_->Start(); }
  /// As if it were stuck, or the network swallowed what it is sent: nothing is read, and no connection taken. The
  /// kernel still completes connections and takes as many bytes as its buffers hold.
  void StopReading() { relay_->StopReading(); }
  void ResumeReading() { relay_->ResumeReading(); }
  /// Resets every connection; new ones are welcome.
  void ResetConnections() { relay_->ResetAll(); }

 private:
  // gRPC's threads are few, and none may block: each call gets its own.
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    Call* const call = new Call(context, ledger_, *relay_);
    std::lock_guard lock(mutex_);
    const auto found = plans_.find(call->path());
    std::shared_ptr<Plan> plan = found != plans_.end() ? found->second : nullptr;
    // Here, since threads may start in another order than the calls came in.
    Plan::Act act = plan != nullptr ? plan->Next(call->path()) : Unscripted(call->path());
    const bool one_request =
        plan != nullptr && (plan->kind() == RpcKind::kUnary || plan->kind() == RpcKind::kServerStream);
    ++running_;
    call->thread_ = std::thread([this, call, one_request, act = std::move(act)] {
      if (one_request) call->ReadAhead();
      call->End(Play(*call, act));
      Leave(call);
    });
    return call;
  }
  static Plan::Act Unscripted(const std::string& path) {
    Plan::Act act;
    act.steps.push_back([message = detail::Cat("the fake server has no script for ", path)](Call&) {
      return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, message);
    });
    return act;
  }
  static grpc::Status Play(Call& call, const Plan::Act& act) {
    for (const auto& [key, value] : act.headers) call.AddHeader(key, value);
    for (const auto& [key, value] : act.trailers) call.AddTrailer(key, value);
    for (const Plan::Step& step : act.steps) {
      if (call.cancelled()) return grpc::Status::CANCELLED;
      const absl::StatusOr<std::optional<grpc::Status>> end =
          detail::InvokeUser("a fake server's function", [&] { return step(call); });
      if (!end.ok()) return grpc::Status(grpc::StatusCode::INTERNAL, std::string(end.status().message()));
      if (end->has_value()) return **end;
    }
    return call.cancelled() ? grpc::Status::CANCELLED : grpc::Status();
  }
  /// The last words of a call's thread. Each joins the one that left before it, and the destructor the last.
  void Leave(Call* call) {
    std::thread before;
    {
      std::lock_guard lock(mutex_);
      before = std::exchange(ended_, std::move(call->thread_));
    }
    delete call;
    if (before.joinable()) before.join();
    std::lock_guard lock(mutex_);
    --running_;
    idle_.notify_all();
  }

  Ledger ledger_;
  std::unique_ptr<Relay> relay_;
  std::unique_ptr<grpc::Server> server_;
  std::mutex mutex_;
  std::condition_variable idle_;
  std::map<std::string, std::shared_ptr<Plan>> plans_;
  int running_ = 0;
  std::thread ended_;
};

}  // namespace testing
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_TESTING_FAKE_SERVER_H_
