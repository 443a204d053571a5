// SPDX-License-Identifier: Apache-2.0
//
// Client: calls any generated service, synchronously, as futures and coroutines, and as streams.
#ifndef INFERWIRE_CLIENT_H_
#define INFERWIRE_CLIENT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <memory>
#include <new>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "inferwire/call_options.h"
#include "inferwire/client_options.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/executor.h"
#include "inferwire/future.h"
#include "inferwire/request_stream.h"
#include "inferwire/response_stream.h"
#include "inferwire/rpc.h"
#include "inferwire/session.h"
#include "inferwire/start.h"
#include "inferwire/stats.h"
#include "inferwire/status.h"
#include "inferwire/task.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A future's state, which lies in the memory of the call that it waits for.
template <class T>
class FutureCall final : public FutureState<T>, public detail::engine::ReplySink {
 public:
  FutureCall(detail::engine::UnaryHandle& call, Decoder<T> decode) : call_(call), decode_(decode) {
    this->BePartOf(call);
  }

  void CancelSource() override { call_.Cancel(CancelledError("cancelled by the caller")); }
  Executor& executor() override { return call_.executor(); }
  std::shared_ptr<Executor> SharedExecutor() override { return call_.SharedExecutor(); }
  bool Answered() override { return call_.Answered(); }
  std::optional<bool> Lends() const override { return call_.Lends(); }
  void AwaitReturn() override {
    if (!call_.Lends()) return;
    if (CurrentThread().serves_grpc) return call_.ServeUntilDone([this] { return this->Ready(); });
    this->Wait(absl::InfiniteDuration());
  }
  void Help() override { call_.HelpAlong(); }

  absl::Status Decode(detail::wire::Reply&& reply) override { return decode_(std::move(reply), reply_); }
  void OnEnd(absl::Status status) override {
    if (!status.ok()) return this->Set(std::move(status));
    this->Set(std::move(reply_));
  }

 private:
  detail::engine::UnaryHandle& call_;
  const Decoder<T> decode_;
  T reply_{};
};

/// Starts a unary call whose answer becomes a T.
template <class T>
Future<T> StartFuture(const std::shared_ptr<detail::engine::Engine>& engine, detail::engine::CallRequest&& request,
                      CallOptions&& options, Decoder<T> decode) {
  static_assert(alignof(FutureCall<T>) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__,
                "inferwire: a response that is aligned to more than `new` aligns cannot be a future's result");
  absl::Status ready = request.request.status();
  FutureCall<T>* state = nullptr;
  const Ref<detail::engine::UnaryHandle> call =
      detail::engine::MakeUnary(engine, std::move(request), std::move(options), sizeof(FutureCall<T>),
                                [&](void* memory, detail::engine::UnaryHandle& made) -> detail::engine::ReplySink& {
                                  return *(state = ::new (memory) FutureCall<T>(made, decode));
                                });
  Future<T> future{Ref<FutureState<T>>(state)};
  detail::engine::Start(*call, std::move(ready));
  return future;
}

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
  static absl::StatusOr<Client> Create(ClientOptions options);

  /// Connects to every target, so that the first calls need not wait for it. OK once the connections that are kept open
  /// (PoolPolicy::min_channels each) stand; DEADLINE_EXCEEDED after `timeout`, naming the targets that are missing and
  /// what gRPC says of the last attempt to connect. Blocks.
  absl::Status WaitUntilReady(absl::Duration timeout) const;

  /// From now on calls go to these targets, for every copy of this client; those in flight go on where they are. What
  /// is known of targets that stay is kept. INVALID_ARGUMENT as from Create, and nothing is changed then.
  absl::Status SetTargets(const std::vector<std::string>& targets) const;

  /// What the client has done so far, and how its targets are. Reads counters that are kept in any case.
  ClientStats Stats() const;

  /// Calls and waits for the reply.
  template <RpcType R>
  absl::StatusOr<typename R::Response> Call(const typename R::Request& request, CallOptions options = {}) const {
    static_assert(UnaryRpc<R>,
                  "inferwire: Call takes a unary method; Stream, Upload and Open are for those that stream");
    return CallAs<typename R::Response>({R::path(), Encode(request)}, detail::wire::DecodeInto<typename R::Response>,
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
    return AsyncAs<typename R::Response>({R::path(), Encode(request)}, detail::wire::DecodeInto<typename R::Response>,
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
    return StreamAs<typename R::Response>({R::path(), Encode(request)}, detail::wire::DecodeInto<typename R::Response>,
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
    auto go_on = [request, resume = std::move(resume)](
                     detail::wire::Reply reply) mutable -> absl::StatusOr<detail::wire::Payload> {
      Response last;
      if (absl::Status status = detail::wire::DecodeInto(std::move(reply), last); !status.ok()) return status;
      absl::StatusOr<Request> next =
          detail::InvokeUser("resume", [&]() -> absl::StatusOr<Request> { return resume(request, last); });
      if (!next.ok()) return next.status();
      return detail::wire::Encode(*next);
    };
    return StreamAs<Response>({R::path(), Encode(request)}, detail::wire::DecodeInto<Response>, std::move(options),
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
                                                              detail::wire::DecodeInto<typename R::Response>);
  }
  template <auto Method>
  auto Open(CallOptions options = {}) const {
    return Open<Rpc<Method>>(std::move(options));
  }

  /// Ends all calls in flight with CANCELLED. Later ones, of every copy of this client, are refused with
  /// FAILED_PRECONDITION.
  void Shutdown() const;

  // The same by path and payload, for layers that encode and decode by themselves.

  using Raw = detail::engine::CallRequest;
  /// In a forked child no message is looked at: protobuf, too, may have been in the midst of something.
  template <class Message>
  absl::StatusOr<detail::wire::Payload> Encode(const Message& request) const {
    if (detail::engine::IsForeign(*engine_)) return detail::ForkedError();
    return detail::wire::Encode(request);
  }
  /// What the calls of all copies share, for layers that wait by themselves.
  const std::shared_ptr<detail::engine::Engine>& engine() const { return engine_; }

  /// Not for what travels on a shared stream, whose answer comes by another thread: AsyncAs waits for that.
  template <class T>
  absl::StatusOr<T> CallAs(Raw&& raw, detail::Decoder<T> decode, CallOptions&& options) const {
    if (detail::engine::IsForeign(*engine_)) return Refused(options);
    absl::StatusOr<T> out{T()};
    absl::Status status =
        detail::engine::CallAndWait(engine_, std::move(raw), std::move(options),
                                    [&](detail::wire::Reply&& reply) { return decode(std::move(reply), *out); });
    if (!status.ok()) out = std::move(status);
    return out;
  }
  template <class T>
  Future<T> AsyncAs(Raw&& raw, detail::Decoder<T> decode, CallOptions&& options) const {
    if (detail::engine::IsForeign(*engine_)) return MakeReadyFuture<T>(Refused(options));
    return detail::StartFuture<T>(engine_, std::move(raw), std::move(options), decode);
  }
  template <class T>
  ResponseStream<T> StreamAs(Raw&& raw, detail::Decoder<T> decode, CallOptions&& options,
                             detail::engine::ResumeFunction resume = nullptr) const {
    return ResponseStream<T>(detail::engine::StartStream(engine_, std::move(raw), std::move(options),
                                                         detail::engine::StreamForm::kServerStream, std::move(resume)),
                             decode);
  }

 private:
  explicit Client(std::shared_ptr<detail::engine::Engine> engine) : engine_(std::move(engine)) {}

  static absl::Status Refused(const CallOptions& options);
  detail::Ref<detail::engine::StreamHandle> OpenStream(const std::string& path, CallOptions options) const {
    return detail::engine::StartStream(engine_, {path, detail::wire::Payload()}, std::move(options),
                                       detail::engine::StreamForm::kOpen);
  }

  std::shared_ptr<detail::engine::Engine> engine_;
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/client.h"  // IWYU pragma: keep
#include "inferwire/detail/impl/door.h"    // IWYU pragma: keep
#endif

#endif  // INFERWIRE_CLIENT_H_
