// SPDX-License-Identifier: Apache-2.0
//
// How a token is fetched, kept, and fetched anew.
#ifndef INFERWIRE_DETAIL_IMPL_BEARER_TOKEN_H_
#define INFERWIRE_DETAIL_IMPL_BEARER_TOKEN_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>

#include "inferwire/bearer_token.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/invoke_user.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/detail/base/secret.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/wire/status.h"
#include "inferwire/executor.h"

namespace inferwire {
inline namespace v0 {

struct BearerToken::State {
  explicit State(Fetch function) : fetch(std::move(function)) {}

  // `taken`: whether the executor took it.
  void FetchNow(const absl::Status& taken) {
    {
      std::lock_guard lock(mutex);
      fetching_thread = std::this_thread::get_id();
    }
    absl::StatusOr<AccessToken> fetched = taken.ok() ? detail::InvokeUser("the function of BearerToken", fetch) : taken;
    absl::Status status = fetched.ok() ? Keep(*std::move(fetched)) : NoToken(fetched.status());
    Waiting told;
    {
      std::lock_guard lock(mutex);
      fetching = false;
      fetching_thread = std::thread::id();
      job = {};
      if (!status.ok()) refresh = absl::Now() + absl::Seconds(1);  // while the old one is valid, not with each call
      told.swap(waiting);
    }
    for (auto& [key, waiter] : told) waiter->OnToken(status);
  }

  // From now on this is the value, unless it is unusable.
  absl::Status Keep(AccessToken&& given) {
    absl::Status status = CheckValue(given.value);
    const absl::Time now = absl::Now();
    if (status.ok() && given.expires <= now) status = detail::InvalidArgumentError("it has expired already");
    constexpr std::string_view kBearer = "Bearer ";
    std::string value;
    value.reserve(kBearer.size() + given.value.size());  // what grows leaves something behind
    value.append(kBearer).append(given.value);
    detail::Wipe(given.value);
    std::shared_ptr<const detail::Secret> gone = std::make_shared<detail::Secret>(std::move(value));
    std::lock_guard lock(mutex);  // which what was there before outlives
    if (!status.ok()) return unusable = NoToken(status);
    header.swap(gone);
    rejected = false;
    expires = given.expires;
    refresh = expires - (std::min)(absl::Minutes(1), (expires - now) / 5);
    return unusable = absl::OkStatus();
  }
  static absl::Status CheckValue(std::string_view value) {
    if (value.empty()) return detail::InvalidArgumentError("it is empty");
    if (value.ends_with('\n') || value.ends_with('\r')) {
      return detail::InvalidArgumentError(
          "it ends with a line break, as the text of a file does; expected the token alone");
    }
    // Of RFC 6750, section 2.1, and beyond: what servers take for one is theirs to say.
    for (const char c : value) {
      if (c < 0x20 || c > 0x7e) return detail::InvalidArgumentError("it holds a character outside printable ASCII");
    }
    return absl::OkStatus();
  }
  static absl::Status NoToken(const absl::Status& why) {
    return detail::UnauthenticatedError(detail::Cat("no bearer token: ", detail::ToStd(why.message())));
  }

  using Waiting = std::unordered_map<const void*, detail::Ref<detail::TokenWaiter>>;
  const Fetch fetch;  // none where it does not change
  std::mutex mutex;
  std::shared_ptr<const detail::Secret> header;
  absl::Status unusable;  // of what was given last
  absl::Time expires = absl::InfinitePast();
  absl::Time refresh = absl::InfinitePast();
  bool rejected = false;
  absl::Time believed = absl::InfinitePast();
  bool fetching = false;
  std::thread::id fetching_thread;
  detail::Ref<detail::Job> job;  // until it is done
  Waiting waiting;
};

INFERWIRE_DECL BearerToken::BearerToken(std::string value) : state_(std::make_shared<State>(Fetch())) {
  AccessToken given{std::move(value)};
  detail::Wipe(value);                           // a short one was copied
  state_->Keep(std::move(given)).IgnoreError();  // calls are told
}

INFERWIRE_DECL BearerToken::BearerToken(Fetch fetch) : state_(std::make_shared<State>(std::move(fetch))) {}

INFERWIRE_DECL bool BearerToken::Ready(Executor& executor, detail::TokenWaiter& waiter) const {
  detail::Ref<detail::Job> job;
  std::unique_lock lock(state_->mutex);
  if (!state_->fetch) {  // nothing to wait for
    absl::Status unusable = state_->unusable;
    lock.unlock();
    if (unusable.ok()) return true;
    waiter.OnToken(std::move(unusable));
    return false;
  }
  const absl::Time now = absl::Now();
  const bool valid = now < state_->expires && !state_->rejected;
  if (!valid && state_->fetching_thread == std::this_thread::get_id()) {
    lock.unlock();
    waiter.OnToken(detail::UnauthenticatedError("no bearer token: the function that fetches it makes calls with it"));
    return false;
  }
  if (!valid) state_->waiting.emplace(&waiter, &waiter);
  if ((!valid || now >= state_->refresh) && !std::exchange(state_->fetching, true)) {
    job = state_->job =
        detail::MakeRef<detail::Job>(executor, [state = state_](const absl::Status& taken) { state->FetchNow(taken); });
  }
  lock.unlock();
  if (job) detail::Hand(executor, job);
  return valid;
}

INFERWIRE_DECL void BearerToken::Forget(detail::TokenWaiter& waiter) const {
  State::Waiting::node_type gone;  // ends without the lock
  std::lock_guard lock(state_->mutex);
  gone = state_->waiting.extract(&waiter);
}

INFERWIRE_DECL void BearerToken::Help() const {
  std::unique_lock lock(state_->mutex);
  const detail::Ref<detail::Job> job = state_->job;
  lock.unlock();
  if (job) job->Claim();
}

INFERWIRE_DECL std::shared_ptr<const detail::Secret> BearerToken::Latest() const {
  std::lock_guard lock(state_->mutex);
  return state_->header;
}

INFERWIRE_DECL void BearerToken::Reject(const std::shared_ptr<const detail::Secret>& header) const {
  constexpr absl::Duration kEach = absl::Seconds(10);
  std::lock_guard lock(state_->mutex);
  const absl::Time now = absl::Now();
  if (header != state_->header || state_->rejected || state_->believed > now + 2 * kEach) return;
  state_->believed = (std::max)(state_->believed, now) + kEach;
  state_->rejected = true;
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_BEARER_TOKEN_H_
