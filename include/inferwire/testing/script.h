// SPDX-License-Identifier: Apache-2.0
//
// What a fake server does with the calls of a method.
#ifndef INFERWIRE_TESTING_SCRIPT_H_
#define INFERWIRE_TESTING_SCRIPT_H_

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

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/wire/message.h"
#include "inferwire/detail/wire/protobuf.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/detail/wire/writer.h"
#include "inferwire/rpc.h"
#include "inferwire/status.h"
#include "inferwire/testing/server_call.h"

namespace inferwire {
inline namespace v0 {
namespace testing {

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
    return Step([payload = detail::wire::Encode(message)](Call& call) { return WriteTo(call, payload); });
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

  static std::optional<grpc::Status> WriteTo(Call& call, const absl::StatusOr<detail::wire::Payload>& payload) {
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
      details += detail::wire::Field(
          3, detail::wire::Field(1, detail::ToStd(url)) + detail::wire::Field(2, std::string(value)));
    });
    if (details.empty()) return details;
    return "\x08" + detail::wire::Varint(static_cast<std::uint64_t>(status.code())) +
           detail::wire::Field(2, detail::ToStd(status.message())) + details;
  }
  const std::shared_ptr<Plan> plan_;
  std::function<void(std::shared_ptr<Plan>)> publish_;
};

}  // namespace testing
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_TESTING_SCRIPT_H_
