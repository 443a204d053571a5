// SPDX-License-Identifier: Apache-2.0
//
// What a call tells of itself: its attempts, and the text of its end. Pure.
#ifndef INFERWIRE_DETAIL_ENGINE_CALL_REPORT_H_
#define INFERWIRE_DETAIL_ENGINE_CALL_REPORT_H_

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>
#include <absl/time/time.h>

#include <algorithm>
#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {
namespace engine {

class CallReport {
 public:
  /// `path` outlives it.
  explicit CallReport(const std::string& path) : path_(path) {}

  CallInfo& info() { return info_; }
  const CallInfo& info() const { return info_; }

  /// How an attempt went. Of a stream that breaks for years not all are kept, nor what the servers said each time.
  void Record(std::size_t number, CallInfo::Attempt&& attempt) {
    if (number >= kMaxAttempts) return;
    if (number >= kMaxMessages) attempt.message.clear();
    if (info_.attempts.size() <= number) info_.attempts.resize(number + 1);
    info_.attempts[number] = std::move(attempt);
  }

  /// What was called, and where: "acme.Scorer/Score at a:1, b:2".
  std::string Name() const {
    constexpr std::size_t kMaxTargets = 4;
    std::string out = path_.substr(path_.starts_with('/') ? 1 : 0);
    std::vector<std::string_view> targets;
    for (const CallInfo::Attempt& attempt : info_.attempts) {
      if (std::find(targets.begin(), targets.end(), attempt.target) == targets.end()) targets.push_back(attempt.target);
    }
    if (targets.empty()) return out + ", not sent";
    for (std::size_t i = 0; i < (std::min)(targets.size(), kMaxTargets); ++i) {
      out += Cat(i == 0 ? " at " : ", ", targets[i]);
    }
    if (targets.size() > kMaxTargets) out += Cat(" and ", targets.size() - kMaxTargets, " more");
    return out;
  }

  /// "connection refused (3 attempts to 2 targets in 412ms; gave up: attempts)", with the whole story attached. The
  /// text is the server's; where it said nothing, it is what was called. `attempts`: how many were made.
  absl::Status Explain(const absl::Status& status, int attempts) const {
    const bool silent = status.message().empty();
    const std::string number = Cat(attempts, attempts == 1 ? " attempt" : " attempts");
    std::string message = silent ? Name() + ": the server gave no message" : std::string(status.message());
    const bool plain = info_.reason == CallInfo::Reason::kPermanent || info_.reason == CallInfo::Reason::kCancelled;
    if (attempts > 1 || !plain) {
      std::set<std::string_view> targets;
      for (const CallInfo::Attempt& attempt : info_.attempts) targets.insert(attempt.target);
      absl::StrAppend(&message, " (", number, " to ", targets.size(), targets.size() == 1 ? " target" : " targets",
                      " in ", absl::FormatDuration(absl::Trunc(info_.latency, absl::Milliseconds(1))),
                      "; gave up: ", ToAbsl(ReasonName(info_.reason)), ")");
    }
    absl::Status out = Reworded(status, message);
    out.ErasePayload(kSaidUrl);
    AttachCallInfo(out, info_, silent ? number : Name());
    return out;
  }

 private:
  static constexpr std::size_t kMaxAttempts = 1000, kMaxMessages = 32;

  const std::string& path_;
  CallInfo info_;
};

}  // namespace engine
}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_ENGINE_CALL_REPORT_H_
