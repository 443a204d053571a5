// SPDX-License-Identifier: Apache-2.0
//
// What is done to a source and to all that it waits for.
#ifndef INFERWIRE_DETAIL_IMPL_FUTURE_H_
#define INFERWIRE_DETAIL_IMPL_FUTURE_H_

#include <optional>
#include <utility>

#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/ref.h"
#include "inferwire/executor.h"
#include "inferwire/future.h"

namespace inferwire {
inline namespace v0 {

namespace detail {

/// Goes to a source and to all that `step` adds to the list that it is given.
template <class Step>
void ForAll(Ref<FutureSource> source, Step step) {
  FutureSource::Sources next;
  if (source) next.push_back(std::move(source));
  while (!next.empty()) {
    const Ref<FutureSource> at = std::move(next.back());
    next.pop_back();
    step(*at, next);
  }
}

INFERWIRE_DECL void Abandon(Ref<FutureSource> source) {
  ForAll(std::move(source), [](FutureSource& at, FutureSource::Sources& next) { at.AbandonStep(next); });
}

INFERWIRE_DECL void CancelAll(Ref<FutureSource> source) {
  ForAll(std::move(source), [](FutureSource& at, FutureSource::Sources& next) { at.CancelStep(next); });
}

INFERWIRE_DECL bool Needs(FutureSource& source, const ThreadRole& thread) {
  bool needs = false;
  ForAll(Ref<FutureSource>(&source), [&](FutureSource& at, FutureSource::Sources& next) {
    needs = needs || at.Needs(thread);
    if (!needs) at.WaitsFor(next);
  });
  return needs;
}

INFERWIRE_DECL bool Lends(FutureSource& source) {
  bool lends = false;
  ForAll(Ref<FutureSource>(&source), [&](FutureSource& at, FutureSource::Sources& next) {
    const std::optional<bool> known = at.Lends();
    lends = lends || known.value_or(false);
    if (!lends && !known.has_value()) at.WaitsFor(next);
  });
  return lends;
}

INFERWIRE_DECL void Help(FutureSource& source) {
  if (CurrentThread().work == nullptr) return;
  ForAll(Ref<FutureSource>(&source), [](FutureSource& at, FutureSource::Sources& next) {
    at.Help();
    at.WaitsFor(next);
  });
}

}  // namespace detail

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_FUTURE_H_
