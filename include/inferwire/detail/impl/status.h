// SPDX-License-Identifier: Apache-2.0
//
// How the story of a call travels with its status.
#ifndef INFERWIRE_DETAIL_IMPL_STATUS_H_
#define INFERWIRE_DETAIL_IMPL_STATUS_H_

#include <absl/status/status.h>
#include <absl/strings/cord.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/string_view.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {

INFERWIRE_DECL std::string_view ReasonName(CallInfo::Reason reason) {
  switch (reason) {
    case CallInfo::Reason::kNone:
      return "none";
    case CallInfo::Reason::kPermanent:
      return "permanent";
    case CallInfo::Reason::kAttemptsExhausted:
      return "attempts";
    case CallInfo::Reason::kBudgetExhausted:
      return "budget";
    case CallInfo::Reason::kDeadline:
      return "deadline";
    case CallInfo::Reason::kCancelled:
      return "cancelled";
    case CallInfo::Reason::kNotIdempotent:
      return "not idempotent";
    case CallInfo::Reason::kPushback:
      return "pushback";
  }
  return "unknown";
}

namespace detail {

/// The stories carried by statuses, by the address of the payload's bytes. A payload is bytes, and is printed with its
/// status: so it holds words for the reader, and the story stays here for as long as that payload lives.
class CallInfoShelf {
 public:
  static CallInfoShelf& Instance() { return OfThisProcess<CallInfoShelf>(); }
  absl::Cord Put(CallInfo info, std::string said) {
    auto entry = std::make_unique<Entry>();
    entry->info = std::move(info);
    entry->words = std::move(said);
    const absl::string_view words = entry->words;
    std::lock_guard lock(mutex_);
    entries_.emplace(words.data(), std::move(entry));
    return absl::MakeCordFromExternal(words, [](absl::string_view gone) { Instance().Remove(gone.data()); });
  }
  CallInfo Find(const absl::Cord& payload) {
    const auto words = payload.TryFlat();
    if (!words.has_value()) return {};
    std::lock_guard lock(mutex_);
    const auto entry = entries_.find(words->data());
    return entry != entries_.end() ? entry->second->info : CallInfo();
  }

 private:
  struct Entry {
    CallInfo info;
    std::string words;
  };
  void Remove(const char* words) {
    std::unique_lock lock(mutex_);
    const auto gone = entries_.extract(words);
    lock.unlock();  // its strings end outside
  }

  std::mutex mutex_;
  std::unordered_map<const char*, std::unique_ptr<Entry>> entries_;
};

INFERWIRE_DECL void AttachCallInfo(absl::Status& status, const CallInfo& info, std::string words) {
  if (const auto before = status.GetPayload(ToAbsl(kCallInfoUrl)); words.empty() && before.has_value()) {
    words = std::string(*before);
  }
  if (words.empty()) words = absl::StrCat(info.attempts.size(), info.attempts.size() == 1 ? " attempt" : " attempts");
  status.SetPayload(ToAbsl(kCallInfoUrl), CallInfoShelf::Instance().Put(info, std::move(words)));
}

}  // namespace detail

INFERWIRE_DECL CallInfo InfoOf(const absl::Status& status) {
  const auto payload = status.GetPayload(detail::ToAbsl(detail::kCallInfoUrl));
  return payload.has_value() ? detail::CallInfoShelf::Instance().Find(*payload) : CallInfo();
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_STATUS_H_
