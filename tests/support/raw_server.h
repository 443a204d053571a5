// SPDX-License-Identifier: Apache-2.0
//
// A gRPC server for tests that answers with bytes of the test's choosing, right or wrong, one thread a call.
#ifndef INFERWIRE_TESTS_SUPPORT_RAW_SERVER_H_
#define INFERWIRE_TESTS_SUPPORT_RAW_SERVER_H_

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "inferwire/detail/wire/message.h"

namespace inferwire_test {

/// Waits for a condition that another thread brings about, without polling.
class Event {
 public:
  void Set() {
    std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  /// False after ten seconds, so that a broken test fails instead of hanging.
  bool Wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

/// One call, as the server's handler sees it; every step blocks.
class RawCall final : public grpc::ServerGenericBidiReactor {
 public:
  /// `gone` is called last of all, when nothing of the call runs any more.
  RawCall(grpc::GenericCallbackServerContext* context, std::function<void(RawCall&)> handler,
          std::function<void()> gone)
      : context_(context), handler_(std::move(handler)), gone_(std::move(gone)) {
    thread_ = std::thread([this] {
      handler_(*this);
      {
        std::lock_guard lock(mutex_);
        if (finished_) return;
      }
      Finish(grpc::Status());
    });
  }

  const std::string& method() const { return context_->method(); }
  grpc::GenericCallbackServerContext& context() { return *context_; }
  std::string header(const std::string& key) const {
    const auto found = context_->client_metadata().find(key);
    return found == context_->client_metadata().end() ? "" : std::string(found->second.data(), found->second.size());
  }

  /// The next request's bytes; none after the half-close or the end.
  std::optional<std::string> Read() {
    grpc::ByteBuffer buffer;
    if (!Step([&] { StartRead(&buffer); })) return std::nullopt;
    return inferwire::detail::wire::CopyBytes(buffer);
  }
  /// False once the call is over.
  bool Write(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer buffer(&slice, 1);
    return Step([&] { StartWrite(&buffer); });
  }
  /// Ends the call; the handler may do this itself, else OK is sent when it returns.
  void Finish(const grpc::Status& status) {
    std::lock_guard lock(mutex_);
    if (std::exchange(finished_, true)) return;
    grpc::ServerGenericBidiReactor::Finish(status);
  }
  /// Until the client cancels, drops the call, or its deadline passes.
  void WaitForCancel() { cancelled_.Wait(); }

 private:
  template <class Start>
  bool Step(Start start) {
    std::unique_lock lock(mutex_);
    if (finished_) return false;
    step_done_ = false;
    start();
    stepped_.wait(lock, [this] { return step_done_; });
    return step_ok_;
  }
  void Stepped(bool ok) {
    std::lock_guard lock(mutex_);
    step_done_ = true;
    step_ok_ = ok;
    stepped_.notify_all();
  }
  void OnReadDone(bool ok) override { Stepped(ok); }
  void OnWriteDone(bool ok) override { Stepped(ok); }
  void OnCancel() override { cancelled_.Set(); }
  void OnDone() override {
    // The handler's thread ends by itself and must not be waited for here, on a thread of gRPC's.
    std::thread([this] {
      thread_.join();
      const std::function<void()> gone = gone_;
      delete this;
      gone();
    }).detach();
  }

  grpc::GenericCallbackServerContext* const context_;
  const std::function<void(RawCall&)> handler_;
  const std::function<void()> gone_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable stepped_;
  bool step_done_ = false;
  bool step_ok_ = false;
  bool finished_ = false;
  Event cancelled_;
};

/// Serves every method with one handler, on loopback and a free port.
class RawServer final : public grpc::CallbackGenericService {
 public:
  /// For handlers that answer grpc.health.v1's Check as well. Else that is UNIMPLEMENTED here, and no call that counts:
  /// clients ask it whenever they doubt a connection.
  struct WithChecks {};
  RawServer(WithChecks, std::function<void(RawCall&)> handler) : RawServer(std::move(handler)) { checks_ = true; }
  explicit RawServer(std::function<void(RawCall&)> handler, const std::string& address = "127.0.0.1:0",
                     std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials(),
                     const std::function<void(grpc::ServerBuilder&)>& configure = nullptr)
      : handler_(std::move(handler)) {
    {
      std::lock_guard lock(mutex_);  // what is made so far is seen by those who lock it later, whoever starts them
    }
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, std::move(credentials), &port_);
    builder.RegisterCallbackGenericService(this);
    builder.SetMaxReceiveMessageSize(-1);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    if (configure) configure(builder);
    server_ = builder.BuildAndStart();
  }
  ~RawServer() override {
    Stop();
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return running_ == 0; });
  }

  /// Cancels what is in flight and closes the port.
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  std::string target() const { return "127.0.0.1:" + std::to_string(port_); }
  int calls() const { return calls_; }

 private:
  static void Unimplemented(RawCall& call) { call.Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no Check")); }
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    const bool check = !checks_ && context->method() == "/grpc.health.v1.Health/Check";
    if (!check) ++calls_;
    {
      std::lock_guard lock(mutex_);
      ++running_;
    }
    return new RawCall(context, check ? Unimplemented : handler_, [this] {
      std::lock_guard lock(mutex_);
      --running_;
      idle_.notify_all();
    });
  }

  const std::function<void(RawCall&)> handler_;
  std::atomic<bool> checks_{false};  // the handler has the question whether it lives
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::atomic<int> calls_{0};
  std::mutex mutex_;
  std::condition_variable idle_;
  int running_ = 0;
};

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_RAW_SERVER_H_
