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

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/detail/invoke_user.h"
#include "inferwire/detail/text.h"
#include "inferwire/rpc.h"
#include "inferwire/status.h"
#include "inferwire/testing/relay.h"
#include "inferwire/wire/message.h"
#include "inferwire/wire/protobuf.h"
#include "inferwire/wire/status.h"
#include "inferwire/wire/writer.h"

namespace inferwire {
inline namespace v0 {
namespace testing {

class FakeServer;

/// What came in, by method. Thread-safe.
class Ledger {
 public:
  struct Entry {
    int calls = 0;
    int cancelled = 0;
    std::vector<std::string> requests;  // serialised
    std::vector<Metadata> metadata;
  };

  template <class Change>
  void Note(const std::string& path, Change change) {
    std::lock_guard lock(mutex_);
    change(entries_[path]);
    changed_.notify_all();
  }
  template <class Look>
  auto Read(const std::string& path, Look look) const {
    std::lock_guard lock(mutex_);
    const auto entry = entries_.find(path);
    return look(entry != entries_.end() ? entry->second : Entry());
  }
  /// False where `holds` does not come true `within` that time.
  template <class Condition>
  bool Wait(const std::string& path, absl::Duration within, Condition holds) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoNanoseconds((std::min)(within, absl::Hours(24))),
                             [&] { return holds(entries_[path]); });
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Entry> entries_;
};

/// One call as a script's `Do` sees it, on a thread of its own. Every step blocks, and gives up once the call is over:
/// cancelled by the client, past its deadline, or cut off. For that thread alone.
class Call final : private grpc::ServerGenericBidiReactor {
 public:
  /// "/package.Service/Method".
  const std::string& path() const { return path_; }
  /// What the client sent along, in gRPC's order: by key.
  const Metadata& metadata() const { return metadata_; }
  /// Until the deadline that the client sent; infinite where it sent none.
  absl::Duration TimeLeft() const {
    const auto deadline = context_->deadline();
    if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteDuration();
    return absl::FromChrono(deadline) - absl::Now();
  }
  bool cancelled() const {
    std::lock_guard lock(mutex_);
    return cancelled_;
  }

  /// The next request, serialised; none after the last one, or once the call is over.
  std::optional<std::string> Read() {
    if (ahead_.has_value()) return std::exchange(ahead_, std::nullopt);
    grpc::ByteBuffer buffer;
    if (!Step([&] { StartRead(&buffer); })) return std::nullopt;
    std::string bytes = wire::CopyBytes(buffer);
    ledger_.Note(path_, [&](Ledger::Entry& entry) { entry.requests.push_back(bytes); });
    return bytes;
  }
  /// Sends one response and returns when it has been handed to the network. False once the call is over.
  bool Write(const grpc::Slice& bytes) {
    const grpc::ByteBuffer buffer(&bytes, 1);
    return Step([&] { StartWrite(&buffer, grpc::WriteOptions().set_write_through()); });
  }
  bool Write(const std::string& bytes) { return Write(grpc::Slice(bytes)); }
  bool Write(const google::protobuf::MessageLite& message) { return Write(message.SerializeAsString()); }

  /// Waits that long. False once the call is over, at once.
  bool Sleep(absl::Duration duration) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, absl::ToChronoNanoseconds((std::min)(duration, absl::Hours(24))),
                              [this] { return cancelled_; });
  }
  void WaitForCancel() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return cancelled_; });
  }

  /// Sent with the first response or, where there is none, with the status. Keys in lower case; gRPC ends the process
  /// for keys and values that HTTP/2 cannot carry.
  void AddHeader(const std::string& key, const std::string& value) { context_->AddInitialMetadata(key, value); }
  /// Sent with the status.
  void AddTrailer(const std::string& key, const std::string& value) { context_->AddTrailingMetadata(key, value); }

  /// Resets the call's connection, and with it every other call that it carries.
  void Drop() { relay_.Reset(connection_); }
  /// Announces to the client that the connection takes no new calls. `processed`: those it carries go on; else they are
  /// refused as never begun, so that a client may safely make them again. False where the connection is encrypted.
  bool GoAway(bool processed) { return relay_.GoAway(connection_, processed); }

 private:
  friend class FakeServer;

  Call(grpc::GenericCallbackServerContext* context, Ledger& ledger, Relay& relay)
      : context_(context),
        path_(context->method()),
        metadata_(wire::FromGrpc(context->client_metadata())),
        connection_(PortOf(context->peer())),
        ledger_(ledger),
        relay_(relay) {
    ledger_.Note(path_, [this](Ledger::Entry& entry) {
      ++entry.calls;
      entry.metadata.push_back(metadata_);
    });
  }
  ~Call() override = default;

  /// "ipv4:127.0.0.1:50051"
  static int PortOf(const std::string& peer) { return std::atoi(peer.c_str() + peer.rfind(':') + 1); }

  /// Reads what a call with one request begins with, so that it is noted whatever the script does.
  void ReadAhead() { ahead_ = Read(); }
  /// Sends the status, and waits until gRPC has done with the call.
  void End(const grpc::Status& status) {
    Finish(status);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return over_; });
  }

  template <class Start>
  bool Step(Start start) {
    {
      std::lock_guard lock(mutex_);
      stepped_.reset();
    }
    start();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stepped_.has_value(); });
    return *stepped_;
  }
  void Stepped(bool ok) {
    std::lock_guard lock(mutex_);
    stepped_ = ok;
    changed_.notify_all();
  }
  void OnReadDone(bool ok) override { Stepped(ok); }
  void OnWriteDone(bool ok) override { Stepped(ok); }
  void OnCancel() override {
    // What the test itself cut off was not cancelled by the client.
    if (!relay_.WasCut(connection_)) ledger_.Note(path_, [](Ledger::Entry& entry) { ++entry.cancelled; });
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    changed_.notify_all();
  }
  void OnDone() override {
    std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();  // within the lock: the thread that waits deletes the call
  }

  grpc::GenericCallbackServerContext* const context_;  // until OnDone
  const std::string path_;
  const Metadata metadata_;
  const int connection_;
  Ledger& ledger_;
  Relay& relay_;
  std::thread thread_;
  std::optional<std::string> ahead_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<bool> stepped_;
  bool cancelled_ = false;
  bool over_ = false;
};

/// What is to happen to a method's calls. Thread-safe.
class Plan {
 public:
  /// A status ends the call.
  using Step = std::function<std::optional<grpc::Status>(Call&)>;
  struct Act {
    std::vector<Step> steps;
    Metadata headers;
    Metadata trailers;
    std::optional<int> times;
    int used = 0;
  };

  explicit Plan(RpcKind kind) : kind_(kind) {}

  RpcKind kind() const { return kind_; }
  template <class Change>
  void ChangeLast(Change change) {
    std::lock_guard lock(mutex_);
    change(acts_.back());
  }
  void Add() {
    std::lock_guard lock(mutex_);
    acts_.emplace_back();
  }
  /// The act for one more call.
  Act Next(const std::string& path) {
    std::lock_guard lock(mutex_);
    for (Act& act : acts_) {
      if (act.times.has_value() && act.used >= *act.times) continue;
      ++act.used;
      ++played_;
      return act;
    }
    Act over;
    over.steps.push_back([end = detail::Cat("the script of ", path, " is over after ", played_, " calls")](Call&) {
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, end);
    });
    return over;
  }

 private:
  const RpcKind kind_;
  std::mutex mutex_;
  std::vector<Act> acts_ = std::vector<Act>(1);
  int played_ = 0;
};

/// Writes a method's script: acts joined by `Then`, each played for `Times` calls, or for all that come. An act is
/// steps and then an end; without an end it ends OK. After the last act calls fail with FAILED_PRECONDITION.
///
/// The script takes the former one's place with its first end, or when this object goes. What is written later holds
/// for calls that come later: where calls come meanwhile, write `Header`, `Trailer` and `Pushback` before the end.
template <RpcType R>
class Script {
 public:
  using Response = typename R::Response;

  Script(const Script&) = delete;
  Script& operator=(const Script&) = delete;
  ~Script() { Publish(); }

  // ---- steps

  /// Waits, and no longer than the call lasts.
  Script& Delay(absl::Duration duration) {
    return Perform([duration](Call& call) { call.Sleep(duration); });
  }
  Script& Send(const Response& message) {
    return Step([payload = wire::Encode(message)](Call& call) { return WriteTo(call, payload); });
  }
  /// Waits for the next request of a stream. Goes on without where the client has no more.
  Script& Receive() {
    return Perform([](Call& call) { call.Read(); });
  }
  /// Waits for all requests of a stream.
  Script& ReceiveAll() {
    return Perform([](Call& call) {
      while (call.Read().has_value()) {
      }
    });
  }
  /// The call's connection gets an HTTP/2 GOAWAY. `processed`: its calls go on, this one with the next step; the next
  /// call comes by another connection. Else this ends the act: the connection's calls are refused as never begun, which
  /// a client may safely make again. Fails with INTERNAL where the server has credentials: frames cannot be put into an
  /// encrypted stream.
  Script& GoAway(bool processed = true) {
    Step([processed](Call& call) -> std::optional<grpc::Status> {
      if (!call.GoAway(processed)) {
        return grpc::Status(grpc::StatusCode::INTERNAL, "GoAway needs a connection without encryption");
      }
      if (processed) return std::nullopt;
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "refused");
    });
    return processed ? *this : End();
  }

  // ---- ends

  /// Sends the message and ends with OK.
  Script& Reply(const Response& message) { return Send(message).Ok(); }
  /// Ends with OK, and sends nothing.
  Script& Ok() { return EndWith(grpc::Status()); }
  /// Payloads of types "type.googleapis.com/..." go along as google.rpc.Status in grpc-status-details-bin.
  Script& Fail(const absl::Status& status) { return FailWithDetails(status, DetailsOf(status)); }
  /// `details`: the bytes of grpc-status-details-bin, right or wrong.
  Script& FailWithDetails(const absl::Status& status, std::string details) {
    return EndWith(
        grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()), std::move(details)));
  }
  /// Neither answers nor ends before the call is over.
  Script& Never() {
    return Perform([](Call& call) { call.WaitForCancel(); }).End();
  }
  /// Resets the call's connection, and with it every other call that it carries. What was sent before and not read yet
  /// may be lost.
  Script& Drop() {
    return Step([](Call& call) {
             call.Drop();
             return std::optional(grpc::Status(grpc::StatusCode::UNAVAILABLE, "dropped"));
           })
        .End();
  }
  /// Replies with the request's bytes: those of each request as it comes, or of the last one where one response is due.
  Script& Echo() {
    return Step([](Call& call) {
             std::optional<std::string> last;
             while (auto request = call.Read()) {
               if constexpr (R::kKind == RpcKind::kBidiStream) {
                 call.Write(*request);
               } else {
                 last = std::move(request);
               }
             }
             if (last.has_value()) call.Write(*last);
             return std::optional(grpc::Status());
           })
        .End();
  }
  /// Anything else. `act` runs on the call's thread, for several calls at a time, and must return once its call is
  /// over.
  Script& Do(std::function<grpc::Status(Call&)> act) {
    return Step([act = std::move(act)](Call& call) { return std::optional(act(call)); }).End();
  }

  // ---- of the act as a whole, wherever they stand in it

  /// How many calls the act holds for; 0 or more.
  Script& Times(int calls) {
    plan_->ChangeLast([&](Plan::Act& act) { act.times = calls; });
    return *this;
  }
  /// Sent before the first response. Keys in lower case.
  Script& Header(const std::string& key, const std::string& value) {
    plan_->ChangeLast([&](Plan::Act& act) { act.headers.emplace_back(key, value); });
    return *this;
  }
  /// Sent with the status. Keys in lower case.
  Script& Trailer(const std::string& key, const std::string& value) {
    plan_->ChangeLast([&](Plan::Act& act) { act.trailers.emplace_back(key, value); });
    return *this;
  }
  /// Asks clients to wait that long, in whole milliseconds, before they try again; if negative, not to try again.
  Script& Pushback(absl::Duration duration) {
    const std::int64_t milliseconds = absl::ToInt64Milliseconds(duration);
    return Trailer("grpc-retry-pushback-ms",
                   std::to_string(milliseconds == 0 && duration < absl::ZeroDuration() ? -1 : milliseconds));
  }

  /// Begins the next act.
  Script& Then() {
    plan_->Add();
    return *this;
  }

 private:
  friend class FakeServer;

  explicit Script(std::function<void(std::shared_ptr<Plan>)> publish)
      : plan_(std::make_shared<Plan>(R::kKind)), publish_(std::move(publish)) {}

  void Publish() {
    if (publish_ != nullptr) std::exchange(publish_, nullptr)(plan_);
  }
  Script& End() {
    Publish();
    return *this;
  }
  Script& Step(Plan::Step step) {
    plan_->ChangeLast([&](Plan::Act& act) { act.steps.push_back(std::move(step)); });
    return *this;
  }
  /// A step that never ends the call.
  Script& Perform(std::function<void(Call&)> work) {
    return Step([work = std::move(work)](Call& call) {
      work(call);
      return std::optional<grpc::Status>();
    });
  }
  Script& EndWith(const grpc::Status& status) {
    return Step([status](Call&) { return std::optional(status); }).End();
  }

  static std::optional<grpc::Status> WriteTo(Call& call, const absl::StatusOr<wire::Payload>& payload) {
    if (!payload.ok()) return grpc::Status(grpc::StatusCode::INTERNAL, std::string(payload.status().message()));
    call.Write(payload->slices()[0]);
    return std::nullopt;
  }

  /// google.rpc.Status: int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3. Any: string
  /// type_url = 1; bytes value = 2. Written by hand, since neither is generated for the library.
  static std::string DetailsOf(const absl::Status& status) {
    std::string details;
    status.ForEachPayload([&](absl::string_view url, const absl::Cord& value) {
      if (!detail::ToStd(url).starts_with("type.googleapis.com/")) return;
      details += wire::Field(3, wire::Field(1, detail::ToStd(url)) + wire::Field(2, std::string(value)));
    });
    if (details.empty()) return details;
    return "\x08" + wire::Varint(static_cast<std::uint64_t>(status.code())) +
           wire::Field(2, detail::ToStd(status.message())) + details;
  }
  const std::shared_ptr<Plan> plan_;
  std::function<void(std::shared_ptr<Plan>)> publish_;
};

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
