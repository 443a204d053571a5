// SPDX-License-Identifier: Apache-2.0
//
// Client: calls any generated service, synchronously, as futures and coroutines, and as streams.
#ifndef INFERWIRE_CLIENT_H_
#define INFERWIRE_CLIENT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/channel/pool.h"
#include "inferwire/client_options.h"
#include "inferwire/detail/error.h"
#include "inferwire/detail/invoke_user.h"
#include "inferwire/detail/process.h"
#include "inferwire/detail/ref.h"
#include "inferwire/engine/engine.h"
#include "inferwire/engine/fork.h"
#include "inferwire/engine/gate.h"
#include "inferwire/engine/health.h"
#include "inferwire/engine/loop.h"
#include "inferwire/engine/shared_stream.h"
#include "inferwire/engine/stream.h"
#include "inferwire/engine/unary.h"
#include "inferwire/future.h"
#include "inferwire/request_stream.h"
#include "inferwire/response_stream.h"
#include "inferwire/rpc.h"
#include "inferwire/session.h"
#include "inferwire/start.h"
#include "inferwire/stats.h"
#include "inferwire/task.h"
#include "inferwire/wire/protobuf.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A unary call that keeps its decoded reply.
template <class T>
class TypedCall : public engine::UnaryCall {
 protected:
  TypedCall(std::shared_ptr<engine::Engine> engine, engine::Loop& loop, Spec&& spec, Decoder<T> decode)
      : UnaryCall(std::move(engine), loop, std::move(spec)), decode_(decode) {}

  absl::Status Decode(wire::Reply&& reply) final { return decode_(std::move(reply), reply_); }
  absl::StatusOr<T> Result(absl::Status status) {
    if (!status.ok()) return status;
    return std::move(reply_);
  }

 private:
  const Decoder<T> decode_;
  T reply_{};
};

/// A call whose caller turns the loop itself: no other thread is woken.
template <class T>
class BlockingCall final : public TypedCall<T> {
 public:
  BlockingCall(std::shared_ptr<engine::Engine> engine, engine::Loop& loop, engine::Call::Spec&& spec, Decoder<T> decode)
      : TypedCall<T>(std::move(engine), loop, std::move(spec), decode) {}

  absl::StatusOr<T> Wait() {
    engine::Call::Help();
    std::unique_lock lock(done_mutex_);
    while (!end_.has_value()) {
      lock.unlock();
      this->loop_.Turn();
      lock.lock();
    }
    return this->Result(*std::move(end_));
  }

 private:
  void OnEnd(absl::Status status) override {
    std::lock_guard lock(done_mutex_);
    end_.emplace(std::move(status));
    // Cancelled from elsewhere: the caller may be waiting for nothing but time. Under the lock, since the loop is
    // another's once the caller knows.
    if (std::this_thread::get_id() != caller_) this->loop_.Wake();
  }

  const std::thread::id caller_ = std::this_thread::get_id();
  std::mutex done_mutex_;
  std::optional<absl::Status> end_;
};

/// A call that is the state of its own future.
template <class T>
class FutureCall final : public TypedCall<T>, public FutureState<T> {
 public:
  /// `foreign`: the decoder may take any time.
  FutureCall(std::shared_ptr<engine::Engine> engine, engine::Call::Spec&& spec, Decoder<T> decode, bool foreign)
      : TypedCall<T>(engine, engine->AsyncLoop(), std::move(spec), decode), foreign_(foreign) {}

  void CancelSource() override { this->Cancel(detail::CancelledError("cancelled by the caller")); }
  Executor& executor() override { return this->engine_->executor(); }
  bool Answered() override { return this->HasAnswer(); }
  std::shared_ptr<Executor> SharedExecutor() override {
    return std::shared_ptr<Executor>(this->engine_, &this->engine_->executor());
  }
  std::optional<bool> Lends() const override { return this->lends(); }
  void AwaitReturn() override {
    if (!this->lends()) return;
    if (CurrentThread().serves_grpc) return this->ServeUntil([this] { return this->Ready(); });
    this->Wait(absl::InfiniteDuration());
  }
  void Help() override { engine::Call::Help(); }

 private:
  // What takes longer than it takes to hand it over.
  static constexpr std::size_t kLargeReply = std::size_t{256} << 10;

  bool DecodesApart(const wire::Reply& reply) const override { return foreign_ || reply.size() >= kLargeReply; }
  bool AsksApart() const override { return this->AsksUser(); }
  void OnEnd(absl::Status status) override { this->Set(this->Result(std::move(status))); }

  const bool foreign_;
};

}  // namespace detail

/// Calls the services of one or several targets. A cheap handle: copies share everything, and any number of threads may
/// use them. Calls, futures and streams keep alive what they need; destroying a client cancels nothing.
///
/// Methods are named by the member pointers of the stub that protoc generated:
/// `client.Call<&Scorer::Stub::Score>(request)`, or by an Rpc: `client.Call<Rpc<&Stub::Score,
/// "acme.v1.Scorer">>(request)`. A request may die as soon as the function returned. Errors are those of the server,
/// and of the engine: INVALID_ARGUMENT (options, metadata, or a request that cannot be sent), DEADLINE_EXCEEDED,
/// CANCELLED, UNAVAILABLE, RESOURCE_EXHAUSTED (a reply over the limit), INTERNAL (a missing or malformed reply);
/// InfoOf(status) tells the whole story.
class Client {
 public:
  /// Checks the options and reads the certificates; connects with the first call. INVALID_ARGUMENT or NOT_FOUND, naming
  /// the option or the file.
  static absl::StatusOr<Client> Create(ClientOptions options) {
    if (absl::Status status = engine::MayUseGrpc(); !status.ok()) return status;
    if (absl::Status status = detail::Validate(options); !status.ok()) return detail::WithoutTrace(status);
    absl::StatusOr<Credentials::Built> built = options.credentials.Build();
    if (!built.ok()) return detail::WithoutTrace(built.status());
    // What every call carries over plaintext is not for a proxy to read.
    const bool shows = !options.credentials.secure() &&
                       (options.token.has_value() || wire::Has(options.metadata, wire::kAuthorization));
    if (shows) options.connection.use_proxy = false;
    channel::Connector connector(*built, options.pool, options.connection,
                                 static_cast<int>(options.max_receive_message_bytes),
                                 options.compression != Compression::kNone);
    const bool health = options.health.check_service.has_value() || options.health.readiness.has_value();
    const auto engine = engine::Engine::Make(std::move(options), std::move(connector));
    if (health) engine->Follow(std::make_unique<engine::Health>(engine));
    return Client(engine);
  }

  /// Connects to every target, so that the first calls need not wait for it. OK once the connections that are kept open
  /// (PoolPolicy::min_channels each) stand; DEADLINE_EXCEEDED after `timeout`, naming the targets that are missing and
  /// what gRPC says of the last attempt to connect. Blocks.
  absl::Status WaitUntilReady(absl::Duration timeout) const {
    if (engine_->foreign()) return detail::ForkedError();
    // What lies before 1970 is never to gRPC.
    const absl::Duration wait = (std::max)(timeout, absl::ZeroDuration());
    const auto deadline = wait == absl::InfiniteDuration() ? std::chrono::system_clock::time_point::max()
                                                           : absl::ToChronoTime(absl::Now() + wait);
    std::string missing;
    const auto targets = engine_->pool().targets();
    const TimePoint now = engine_->Now();
    for (const auto& target : targets) target->endpoint->StartConnecting(now);  // all at a time
    for (const auto& target : targets) {
      if (target->endpoint->WaitUntilConnected(deadline, now)) continue;
      const std::string why = target->endpoint->WhyNotConnected(now);
      missing += detail::Cat(missing.empty() ? "" : ", ", target->endpoint->target(), why.empty() ? "" : " (", why,
                             why.empty() ? "" : ")");
    }
    if (missing.empty()) return absl::OkStatus();
    return detail::MakeError(absl::StatusCode::kDeadlineExceeded,
                             detail::Cat("no connection within ", absl::FormatDuration(timeout), " to ", missing));
  }

  /// From now on calls go to these targets, for every copy of this client; those in flight go on where they are. What
  /// is known of targets that stay is kept. INVALID_ARGUMENT as from Create, and nothing is changed then.
  absl::Status SetTargets(const std::vector<std::string>& targets) const {
    if (engine_->foreign()) return detail::ForkedError();
    if (absl::Status status = detail::ValidateTargets(targets); !status.ok()) return detail::WithoutTrace(status);
    engine_->SetTargets(targets);
    return absl::OkStatus();
  }

  /// What the client has done so far, and how its targets are. Reads counters that are kept in any case.
  ClientStats Stats() const {
    if (engine_->foreign()) return {};
    const engine::Counts& counts = engine_->counts();
    const auto read = [](const std::atomic<std::uint64_t>& count) { return count.load(std::memory_order_relaxed); };
    ClientStats out;
    const std::uint64_t ended = read(counts.ended);  // before those that began
    out.calls = read(counts.calls);
    out.failed = read(counts.failed);
    out.attempts = read(counts.attempts);
    out.retries = read(counts.retries);
    out.hedges = read(counts.hedges);
    out.in_flight = out.calls - ended;
    for (const auto& target : engine_->pool().targets()) {
      const auto [open, ready] = target->endpoint->connections();
      const std::uint64_t done = read(target->ended);
      const std::uint64_t attempts = read(target->attempts);
      out.targets.push_back({target->endpoint->target(), open, ready, !target->unhealthy, target->outlier.ejected(),
                             read(target->ejections), attempts, read(target->failures), attempts - done,
                             target->latencies.Quantile(0.5, 1), target->latencies.Quantile(0.9, 1),
                             target->latencies.Quantile(0.99, 1),
                             ready > 0 ? std::string() : target->endpoint->connect_error()});
    }
    return out;
  }

  /// Calls and waits for the reply.
  template <RpcType R>
  absl::StatusOr<typename R::Response> Call(const typename R::Request& request, CallOptions options = {}) const {
    static_assert(UnaryRpc<R>,
                  "inferwire: Call takes a unary method; Stream, Upload and Open are for those that stream");
    return CallAs<typename R::Response>({R::path(), Encode(request)}, wire::DecodeInto<typename R::Response>,
                                        std::move(options));
  }
  template <auto Method>
  auto Call(const typename Rpc<Method>::Request& request, CallOptions options = {}) const {
    return Call<Rpc<Method>>(request, std::move(options));
  }

  /// Calls and returns at once; the future has the reply.
  template <RpcType R>
  Future<typename R::Response> Async(const typename R::Request& request, CallOptions options = {}) const {
    static_assert(UnaryRpc<R>,
                  "inferwire: Async takes a unary method; Stream, Upload and Open are for those that stream");
    return AsyncAs<typename R::Response>({R::path(), Encode(request)}, wire::DecodeInto<typename R::Response>,
                                         std::move(options));
  }
  template <auto Method>
  auto Async(const typename Rpc<Method>::Request& request, CallOptions options = {}) const {
    return Async<Rpc<Method>>(request, std::move(options));
  }

  /// Calls a method that streams its responses. Tried again as unary calls are, until the first response.
  template <RpcType R>
  ResponseStream<typename R::Response> Stream(const typename R::Request& request, CallOptions options = {}) const {
    static_assert(ServerStreamRpc<R>,
                  "inferwire: Stream takes a method that streams its responses alone; Call and Async are for unary "
                  "ones, Upload and Open for those that stream requests");
    return StreamAs<typename R::Response>({R::path(), Encode(request)}, wire::DecodeInto<typename R::Response>,
                                          std::move(options));
  }
  template <auto Method>
  auto Stream(const typename Rpc<Method>::Request& request, CallOptions options = {}) const {
    return Stream<Rpc<Method>>(request, std::move(options));
  }

  /// The same, and goes on where it broke: `resume`, a function (const Request&, const Response& last) -> Request,
  /// makes of the request and the last response that came one for what comes behind it, which goes to another target
  /// where there is one. Each response is given once. It runs on the executor, and may also give an absl::StatusOr.
  /// Breaks in a row count against RetryPolicy::max_attempts. An attempt that has lasted max_backoff, at least a
  /// second, begins the count and the waits anew with each response; where it breaks sooner, four responses make up for
  /// one break, and the waits go on growing. A stream goes on 16 times at once, and then once a second, at the most.
  template <RpcType R, class Resume>
  ResponseStream<typename R::Response> Stream(const typename R::Request& request, CallOptions options,
                                              Resume resume) const {
    static_assert(ServerStreamRpc<R>,
                  "inferwire: Stream takes a method that streams its responses alone; Call and Async are for unary "
                  "ones, Upload and Open for those that stream requests");
    using Request = typename R::Request;
    using Response = typename R::Response;
    static_assert(std::is_invocable_v<Resume&, const Request&, const Response&>,
                  "inferwire: resume takes (const Request&, const Response& last) and gives the request for what "
                  "comes behind `last`");
    auto go_on = [request, resume = std::move(resume)](wire::Reply reply) mutable -> absl::StatusOr<wire::Payload> {
      Response last;
      if (absl::Status status = wire::DecodeInto(std::move(reply), last); !status.ok()) return status;
      absl::StatusOr<Request> next =
          detail::InvokeUser("resume", [&]() -> absl::StatusOr<Request> { return resume(request, last); });
      if (!next.ok()) return next.status();
      return wire::Encode(*next);
    };
    return StreamAs<Response>({R::path(), Encode(request)}, wire::DecodeInto<Response>, std::move(options),
                              std::move(go_on));
  }
  template <auto Method, class Resume>
  auto Stream(const typename Rpc<Method>::Request& request, CallOptions options, Resume resume) const {
    return Stream<Rpc<Method>>(request, std::move(options), std::move(resume));
  }

  /// Opens a call that takes a stream of requests. Tried again only as long as nothing of it reached a server.
  template <RpcType R>
  RequestStream<typename R::Request, typename R::Response> Upload(CallOptions options = {}) const {
    static_assert(ClientStreamRpc<R>,
                  "inferwire: Upload takes a method that streams its requests alone; Call and Async are for unary "
                  "ones, Stream and Open for those that stream responses");
    return RequestStream<typename R::Request, typename R::Response>(OpenStream(R::path(), std::move(options)));
  }
  template <auto Method>
  auto Upload(CallOptions options = {}) const {
    return Upload<Rpc<Method>>(std::move(options));
  }

  /// Opens a bidirectional call. Tried again only as long as nothing of it reached a server.
  template <RpcType R>
  Session<typename R::Request, typename R::Response> Open(CallOptions options = {}) const {
    static_assert(BidiStreamRpc<R>,
                  "inferwire: Open takes a method that streams both ways; Call and Async are for unary ones, Stream "
                  "and Upload for those that stream one way");
    return Session<typename R::Request, typename R::Response>(OpenStream(R::path(), std::move(options)),
                                                              wire::DecodeInto<typename R::Response>);
  }
  template <auto Method>
  auto Open(CallOptions options = {}) const {
    return Open<Rpc<Method>>(std::move(options));
  }

  /// Ends all calls in flight with CANCELLED. Later ones, of every copy of this client, are refused with
  /// FAILED_PRECONDITION.
  void Shutdown() const { engine_->Shutdown(); }

  // The same by path and payload, for layers that encode and decode by themselves.

  struct Raw {
    const std::string& path;                ///< lives as long as the process
    absl::StatusOr<wire::Payload> request;  ///< an error ends the call as every error does
    /// Which errors say that a server is about to go, and another should be asked.
    bool (*draining)(const absl::Status&) = nullptr;
    /// Where the request, which has no id then, travels on a stream with others, and the caller's id for it.
    detail::Ref<engine::Carrier> carrier = {};
    std::string id = {};
    /// Whether decoding the answer, and `draining`, may take any time, and other calls are not to wait for it.
    bool foreign = false;
    /// What is waited for first.
    std::shared_ptr<engine::Gate> gate = nullptr;
  };
  /// In a forked child no message is looked at: protobuf, too, may have been in the midst of something.
  template <class Message>
  absl::StatusOr<wire::Payload> Encode(const Message& request) const {
    if (engine_->foreign()) return detail::ForkedError();
    return wire::Encode(request);
  }
  /// What the calls of all copies share, for layers that wait by themselves.
  const std::shared_ptr<engine::Engine>& engine() const { return engine_; }
  /// Carries requests together on one stream. `once`: what is sent must arrive on one stream.
  detail::Ref<engine::Carrier> Share(const std::string& path, const engine::SharedStream::Speech& speech,
                                     bool once = false) const {
    return detail::MakeRef<engine::SharedStream>(engine_, path, speech, once);
  }

  template <class T>
  absl::StatusOr<T> CallAs(Raw&& raw, detail::Decoder<T> decode, CallOptions&& options) const {
    if (engine_->foreign()) return Refused(options);
    // What a shared stream brings comes by another thread anyway.
    if (raw.carrier) return AsyncAs(std::move(raw), decode, std::move(options)).Get();
    absl::Status ready = raw.request.status();
    const engine::CallerLoop loop;
    auto call = detail::MakeRef<detail::BlockingCall<T>>(
        engine_, *loop, Spec(std::move(raw), std::move(options), engine_->options().timeout), decode);
    call->Start(std::move(ready));
    return call->Wait();
  }
  template <class T>
  Future<T> AsyncAs(Raw&& raw, detail::Decoder<T> decode, CallOptions&& options) const {
    if (engine_->foreign()) return MakeReadyFuture<T>(Refused(options));
    absl::Status ready = raw.request.status();
    const bool foreign = raw.foreign;
    auto call = detail::MakeRef<detail::FutureCall<T>>(
        engine_, Spec(std::move(raw), std::move(options), engine_->options().timeout), decode, foreign);
    call->Start(std::move(ready));
    return Future<T>(std::move(call));
  }
  template <class T>
  ResponseStream<T> StreamAs(Raw&& raw, detail::Decoder<T> decode, CallOptions&& options,
                             engine::StreamCall::ResumeFunction resume = nullptr) const {
    return ResponseStream<T>(
        StartStream(std::move(raw), std::move(options), engine::StreamCall::Form::kServerStream, std::move(resume)),
        decode);
  }

 private:
  explicit Client(std::shared_ptr<engine::Engine> engine) : engine_(std::move(engine)) {}

  static absl::Status Refused(const CallOptions& options) {
    absl::Status status = detail::ForkedError();
    if (options.info != nullptr) *options.info = InfoOf(status);
    return status;
  }
  engine::Call::Spec Spec(Raw&& raw, CallOptions&& options, absl::Duration timeout) const {
    timeout = options.timeout.value_or(timeout);
    if (raw.request.ok() && !engine_->bounds_loans()) *raw.request = wire::Owned(*std::move(raw.request));
    return {.path = raw.path,
            .request = raw.request.ok() ? *std::move(raw.request) : wire::Payload(),
            .options = std::move(options),
            .timeout = timeout,
            .draining = raw.draining,
            .foreign = raw.foreign,
            .carrier = std::move(raw.carrier),
            .id = std::move(raw.id),
            .gate = std::move(raw.gate)};
  }
  detail::Ref<engine::StreamCall> StartStream(Raw&& raw, CallOptions&& options, engine::StreamCall::Form form,
                                              engine::StreamCall::ResumeFunction resume = nullptr) const {
    absl::Status ready = raw.request.status();
    const ClientOptions& client = engine_->options();
    engine::StreamCall::Terms terms{form, options.idle_timeout.value_or(client.idle_timeout),
                                    options.first_message_timeout.value_or(client.first_message_timeout),
                                    std::move(resume)};
    auto call = detail::MakeRef<engine::StreamCall>(engine_, engine_->AsyncLoop(),
                                                    Spec(std::move(raw), std::move(options), client.stream_timeout),
                                                    std::move(terms));
    call->Start(std::move(ready));
    return call;
  }
  detail::Ref<engine::StreamCall> OpenStream(const std::string& path, CallOptions options) const {
    return StartStream({path, wire::Payload()}, std::move(options), engine::StreamCall::Form::kOpen);
  }

  std::shared_ptr<engine::Engine> engine_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CLIENT_H_
