// SPDX-License-Identifier: Apache-2.0
//
// What the client's templates ask of the engine: nothing here depends on a type of message, so that the engine is not
// compiled with each of them.
#ifndef INFERWIRE_DETAIL_ENGINE_DOOR_H_
#define INFERWIRE_DETAIL_ENGINE_DOOR_H_

#include <absl/functional/any_invocable.h>
#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "inferwire/call_options.h"
#include "inferwire/clock.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/engine/gate.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/executor.h"
#include "inferwire/stats.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace channel {
struct Target;
}  // namespace channel
namespace engine {

class MuxStream;
class Engine;
class MuxedAttempt;

/// Opens streams as they are needed, one to a target.
class StreamMux : public virtual detail::RefCounted {
 public:
  /// Where all must go, if there is such a target.
  virtual std::shared_ptr<channel::Target> OnlyTarget() = 0;
  /// Sends the request, under the rider's id, on a stream to the target that is open, or opens one. Under the lock of
  /// the rider's call; nothing comes back before that is released.
  virtual detail::Ref<MuxStream> Attach(std::shared_ptr<MuxedAttempt> rider,
                                        const std::shared_ptr<channel::Target>& target,
                                        const wire::Payload& request) = 0;
};

/// What a message on a shared stream says to the stream itself.
struct ReplyTag {
  std::string id;      ///< of the request that it answers; empty where the server does not echo ids
  bool marked = true;  ///< it says whether more comes for that request; not all servers do
  bool last = true;    ///< nothing more comes
  bool empty = false;  ///< says only that
  absl::Status error;  ///< fails that request, and is its last; the stream goes on
};

/// The caller's own, of that.
inline std::string UserId(std::string_view wire) {
  const std::size_t slash = wire.find('/');
  return std::string(slash == std::string_view::npos ? wire : wire.substr(slash + 1));
}

/// How a contract's requests and answers are told apart.
struct Speech {
  /// What a message says to the stream; an error where it cannot be understood, which ends the stream.
  absl::StatusOr<ReplyTag> (*read_label)(wire::Reply& message);
  /// A request that has no id, under this one.
  wire::Payload (*with_id)(const wire::Payload& request, const std::string& id);
  /// Whether read_label may take any time, and other calls are not to wait for it.
  bool foreign = false;
};

/// Carries requests together on one stream to each target. `path` lives as long as the process. `once`: what is sent
/// must arrive on one stream, each with one answer, and when one is gone that had reached a server, nothing can be sent
/// any more.
INFERWIRE_DECL detail::Ref<StreamMux> ShareStream(const std::shared_ptr<Engine>& engine, const std::string& path,
                                                  const Speech& speech, bool once);

using Inspect = absl::AnyInvocable<absl::Status(const wire::Reply& reply)>;

/// A call as those ask for it who encode and decode by themselves.
struct CallRequest {
  const std::string& path;                ///< lives as long as the process
  absl::StatusOr<wire::Payload> request;  ///< an error ends the call as every error does
  /// Which errors say that a server is about to go, and another should be asked.
  bool (*draining)(const absl::Status&) = nullptr;
  /// Where the request, which has no id then, travels on a stream with others, and the caller's id for it.
  detail::Ref<StreamMux> mux = {};
  std::string id = {};
  /// Whether decoding the answer, and `draining`, may take any time, and other calls are not to wait for it.
  bool foreign = false;
  /// What is waited for first.
  std::shared_ptr<Gate> gate = nullptr;
  /// Looks at each message as it comes, before anyone else: servers that tell errors in messages of calls that end OK
  /// are understood so. An error is the attempt's, which is tried again as by any other. Under the call's lock.
  Inspect inspect = nullptr;
};

/// Whether the engine is that of the process that forked this one: nothing else is to be asked of it then.
INFERWIRE_DECL bool IsForeign(const Engine& engine);
/// By the client's clock.
INFERWIRE_DECL TimePoint NowOf(const Engine& engine);
/// What the client allows streams in all.
INFERWIRE_DECL absl::Duration StreamTimeoutOf(const Engine& engine);

/// What is kept under `key` for as long as the client lives, made when it is first asked for.
INFERWIRE_DECL std::shared_ptr<void> KeptAs(Engine& engine, const void* key, std::shared_ptr<void> (*make)());
/// One of each type.
template <class T>
#if defined(__GNUC__)
[[gnu::visibility("default")]]  // one, also beside a library whose symbols are hidden
#endif
std::shared_ptr<T>
Kept(Engine& engine) {
  static char key;  // its address
  return std::static_pointer_cast<T>(
      KeptAs(engine, &key, []() -> std::shared_ptr<void> { return std::make_shared<T>(); }));
}

// One answer.

using Decode = absl::FunctionRef<absl::Status(wire::Reply&&)>;

/// Calls, and waits for the answer; the caller's thread does the work. `decode` is called on it before this returns, at
/// most once with a reply that makes the call end well.
INFERWIRE_DECL absl::Status CallAndWait(const std::shared_ptr<Engine>& engine, CallRequest&& request,
                                        CallOptions&& options, Decode decode);

/// A unary call that runs, as seen by whom its answer is for.
class UnaryHandle : public virtual detail::RefCounted {
 public:
  virtual void Cancel(absl::Status why) = 0;
  /// Whether a reply has come and is being understood.
  virtual bool Answered() = 0;
  /// Whether memory of the caller's is in use until the end.
  virtual bool Lends() const = 0;
  /// Returns when `done`, on a thread that serves gRPC: which serves on, since nobody else may.
  virtual void ServeUntilDone(absl::FunctionRef<bool()> done) = 0;
  /// Does here what the executor has not begun of what the call waits for.
  virtual void HelpAlong() = 0;
  virtual Executor& executor() = 0;
  virtual std::shared_ptr<Executor> SharedExecutor() = 0;
};

/// Whom the answer of a unary call is for. It lies in the memory of the call, and ends with it.
class ReplySink : public virtual detail::RefCounted {
 public:
  /// Without a lock, from one thread at a time; if the call was ended meanwhile, what it kept is not looked at.
  virtual absl::Status Decode(wire::Reply&& reply) = 0;
  /// Once.
  virtual void OnEnd(absl::Status status) = 0;
};

/// Makes the sink in the memory that is given, of `size` bytes, which is aligned as that of `new`.
using MakeSink = absl::FunctionRef<ReplySink&(void* memory, UnaryHandle& call)>;

/// A call that is made and not started, with its sink.
INFERWIRE_DECL detail::Ref<UnaryHandle> MakeUnary(const std::shared_ptr<Engine>& engine, CallRequest&& request,
                                                  CallOptions&& options, std::size_t size, MakeSink make);
INFERWIRE_DECL void Start(UnaryHandle& call, absl::Status ready);

// Streams.

/// Whether the whole request is there from the start, or writes follow.
enum class StreamForm { kServerStream, kOpen };

/// Makes the request for what comes behind a message. It runs on the executor.
using ResumeFunction = absl::AnyInvocable<absl::StatusOr<wire::Payload>(wire::Reply last)>;

/// A streaming call, as seen by those who read and write. One reader and one writer at a time; they may be different
/// threads.
class StreamHandle : public virtual detail::RefCounted {
 public:
  /// What a reader finds without waiting.
  enum class ReadState { kMessage, kEnded, kWait };
  /// Takes the next message if there is one.
  virtual ReadState TryRead(wire::Reply* reply) = 0;
  /// Waits for the next message; false at the end.
  virtual bool Read(wire::Reply* reply) = 0;
  /// Has `resume` run on the executor once TryRead will not say kWait; false, and nothing kept, if it does not say so
  /// now. For a coroutine that a thread waits for, or for which none does (null).
  virtual bool OnReadable(absl::AnyInvocable<void()> resume, detail::SyncWaiter* waiter) = 0;
  virtual void ForgetReader() = 0;

  enum class WriteState { kTaken, kEnded, kWait };
  /// Queues a message if the write window has room; otherwise leaves it.
  virtual WriteState TryWrite(wire::Payload& payload) = 0;
  /// Waits for room in the write window. FAILED_PRECONDITION after WritesDone; the server's status once it ended the
  /// call.
  virtual absl::Status Write(wire::Payload payload) = 0;
  virtual bool OnWritable(absl::AnyInvocable<void()> resume, detail::SyncWaiter* waiter) = 0;
  virtual void ForgetWriter() = 0;
  /// Why a write was not taken.
  virtual absl::Status WriteError() = 0;
  /// Half-closes once what was queued is sent. A second time does nothing; after the end, as Write.
  virtual absl::Status WritesDone() = 0;

  /// What has arrived so far, and when.
  virtual StreamStats Stats() = 0;
  /// The server's, once a message has come or the call has ended; of the attempt that gave it.
  virtual Metadata InitialMetadata() = 0;
  /// The server's, once the call has ended by itself.
  virtual Metadata TrailingMetadata() = 0;

  virtual void Cancel(absl::Status why) = 0;
  /// OK while it runs, then the final status; which is known already where a message could not be understood.
  virtual absl::Status status() = 0;
  /// Half-closes, discards what is not read, and waits for the end.
  virtual absl::Status Drain() = 0;
  /// Cancels, and returns when nothing of the user's runs or is read (lent memory) any more.
  virtual void Drop(const char* why) = 0;
  /// A message could not be understood: ends the call with `why`, or replaces the OK with which it ended.
  virtual void Fail(absl::Status why) = 0;
  /// Whether it, or its client, was made by the process that forked this one.
  virtual bool OfForeignClient() const = 0;
};

INFERWIRE_DECL detail::Ref<StreamHandle> StartStream(const std::shared_ptr<Engine>& engine, CallRequest&& request,
                                                     CallOptions&& options, StreamForm form,
                                                     ResumeFunction resume = nullptr);

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_DOOR_H_
