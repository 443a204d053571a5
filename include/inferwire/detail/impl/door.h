// SPDX-License-Identifier: Apache-2.0
//
// The calls behind the door: one that blocks, one whose answer is for somebody, and streams.
#ifndef INFERWIRE_DETAIL_IMPL_DOOR_H_
#define INFERWIRE_DETAIL_IMPL_DOOR_H_

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include "inferwire/call_options.h"
#include "inferwire/client_options.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/engine/call.h"
#include "inferwire/detail/engine/door.h"
#include "inferwire/detail/engine/engine.h"
#include "inferwire/detail/engine/loop.h"
#include "inferwire/detail/engine/stream.h"
#include "inferwire/detail/engine/stream_mux_impl.h"
#include "inferwire/detail/engine/unary.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {

namespace detail {
namespace engine {

/// A call whose caller turns the loop itself: no other thread is woken.
class BlockingCall final : public UnaryCall {
 public:
  BlockingCall(std::shared_ptr<Engine> engine, Loop& loop, Spec&& spec, detail::engine::Decode decode)
      : UnaryCall(std::move(engine), loop, std::move(spec)), decode_(decode) {}

  absl::Status Wait() {
    Help();
    std::unique_lock lock(done_mutex_);
    while (!end_.has_value()) {
      lock.unlock();
      loop_.RunOne();
      lock.lock();
    }
    return *std::move(end_);
  }

 private:
  absl::Status Decode(detail::wire::Reply&& reply) override { return decode_(std::move(reply)); }
  void OnEnd(absl::Status status) override {
    std::lock_guard lock(done_mutex_);
    end_.emplace(std::move(status));
    // Cancelled from elsewhere: the caller may be waiting for nothing but time. Under the lock, since the loop is
    // another's once the caller knows.
    if (std::this_thread::get_id() != caller_) loop_.Wake();
  }

  const detail::engine::Decode decode_;
  const std::thread::id caller_ = std::this_thread::get_id();
  std::mutex done_mutex_;
  std::optional<absl::Status> end_;
};

/// A call whose answer is for a sink, which lies behind it: one allocation for both.
class SinkCall final : public UnaryCall, public UnaryHandle {
 public:
  static detail::Ref<SinkCall> New(const std::shared_ptr<Engine>& engine, Spec&& spec, std::size_t size,
                                   MakeSink make) {
    detail::Ref<SinkCall> call(new (Tail{size}) SinkCall(engine, std::move(spec)));
    call->sink_ = &make(reinterpret_cast<std::byte*>(call.get()) + kSize, *call);
    return call;
  }
  ~SinkCall() override {
    if (sink_ != nullptr) sink_->~ReplySink();
  }

  void Cancel(absl::Status why) override { Call::Cancel(std::move(why)); }
  bool Answered() override { return HasAnswer(); }
  bool Lends() const override { return lends(); }
  void ServeUntilDone(absl::FunctionRef<bool()> done) override { ServeUntil(done); }
  void HelpAlong() override { Help(); }
  Executor& executor() override { return engine_->executor(); }
  std::shared_ptr<Executor> SharedExecutor() override {
    return std::shared_ptr<Executor>(engine_, &engine_->executor());
  }

  static void operator delete(void* memory) { ::operator delete(memory); }

 private:
  struct Tail {
    std::size_t size;
  };
  // What takes longer than it takes to hand it over.
  static constexpr std::size_t kLargeReply = std::size_t{256} << 10;
  static const std::size_t kSize;  // up to the sink

  SinkCall(const std::shared_ptr<Engine>& engine, Spec&& spec)
      : UnaryCall(engine, engine->AsyncLoop(), std::move(spec)) {}
  static void* operator new(std::size_t, Tail tail) { return ::operator new(kSize + tail.size); }
  static void operator delete(void* memory, Tail) { ::operator delete(memory); }

  absl::Status Decode(detail::wire::Reply&& reply) override { return sink_->Decode(std::move(reply)); }
  bool DecodesApart(const detail::wire::Reply& reply) const override {
    return spec_.foreign || reply.size() >= kLargeReply;
  }
  bool AsksApart() const override { return AsksUser(); }
  void OnEnd(absl::Status status) override { sink_->OnEnd(std::move(status)); }

  ReplySink* sink_ = nullptr;
};
static_assert(alignof(SinkCall) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
inline constexpr std::size_t SinkCall::kSize = (sizeof(SinkCall) + __STDCPP_DEFAULT_NEW_ALIGNMENT__ - 1) /
                                               __STDCPP_DEFAULT_NEW_ALIGNMENT__ * __STDCPP_DEFAULT_NEW_ALIGNMENT__;

/// A request as the engine takes it; an error of its encoding is left behind.
inline Call::Spec SpecOf(const Engine& engine, CallRequest&& request, CallOptions&& options, absl::Duration timeout) {
  timeout = options.timeout.value_or(timeout);
  if (request.request.ok() && !engine.bounds_loans())
    *request.request = detail::wire::Owned(*std::move(request.request));
  return {.path = request.path,
          .request = request.request.ok() ? *std::move(request.request) : detail::wire::Payload(),
          .options = std::move(options),
          .timeout = timeout,
          .draining = request.draining,
          .foreign = request.foreign,
          .mux = std::move(request.mux),
          .id = std::move(request.id),
          .gate = std::move(request.gate),
          .inspect = std::move(request.inspect)};
}

INFERWIRE_DECL bool IsForeign(const Engine& engine) { return engine.foreign(); }
INFERWIRE_DECL TimePoint NowOf(const Engine& engine) { return engine.Now(); }
INFERWIRE_DECL absl::Duration StreamTimeoutOf(const Engine& engine) { return engine.options().stream_timeout; }
INFERWIRE_DECL std::shared_ptr<void> KeptAs(Engine& engine, const void* key, std::shared_ptr<void> (*make)()) {
  return engine.Kept(key, make);
}
INFERWIRE_DECL detail::Ref<StreamMux> ShareStream(const std::shared_ptr<Engine>& engine, const std::string& path,
                                                  const Speech& speech, bool once) {
  return detail::MakeRef<StreamMuxImpl>(engine, path, speech, once);
}

INFERWIRE_DECL absl::Status CallAndWait(const std::shared_ptr<Engine>& engine, CallRequest&& request,
                                        CallOptions&& options, Decode decode) {
  absl::Status ready = request.request.status();
  // Whose answer comes by another thread, which may be decoding it when the call is cancelled and the caller's gone.
  if (request.mux) ready = detail::InternalError("what travels on a shared stream cannot be waited for in place");
  const CallerLoop loop;
  auto call = detail::MakeRef<BlockingCall>(
      engine, *loop, SpecOf(*engine, std::move(request), std::move(options), engine->options().timeout), decode);
  call->Start(std::move(ready));
  return call->Wait();
}

INFERWIRE_DECL detail::Ref<UnaryHandle> MakeUnary(const std::shared_ptr<Engine>& engine, CallRequest&& request,
                                                  CallOptions&& options, std::size_t size, MakeSink make) {
  return SinkCall::New(engine, SpecOf(*engine, std::move(request), std::move(options), engine->options().timeout), size,
                       make);
}

INFERWIRE_DECL void Start(UnaryHandle& call, absl::Status ready) {
  static_cast<SinkCall&>(call).Start(std::move(ready));
}

INFERWIRE_DECL detail::Ref<StreamHandle> StartStream(const std::shared_ptr<Engine>& engine, CallRequest&& request,
                                                     CallOptions&& options, StreamForm form, ResumeFunction resume) {
  absl::Status ready = request.request.status();
  const ClientOptions& client = engine->options();
  const EffectiveOptions effective = Resolve(client, options);
  StreamCall::Terms terms{form, effective.idle_timeout, effective.first_message_timeout, std::move(resume)};
  auto call = detail::MakeRef<StreamCall>(
      engine, engine->AsyncLoop(), SpecOf(*engine, std::move(request), std::move(options), client.stream_timeout),
      std::move(terms));
  call->Start(std::move(ready));
  return call;
}

}  // namespace engine
}  // namespace detail

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_DOOR_H_
