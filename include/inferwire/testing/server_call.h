// SPDX-License-Identifier: Apache-2.0
//
// A call as the script of a fake server sees it.
#ifndef INFERWIRE_TESTING_SERVER_CALL_H_
#define INFERWIRE_TESTING_SERVER_CALL_H_

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
#include <map>
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
    std::string bytes = detail::wire::CopyBytes(buffer);
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
        metadata_(detail::wire::FromGrpc(context->client_metadata())),
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

}  // namespace testing
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_TESTING_SERVER_CALL_H_
