// SPDX-License-Identifier: Apache-2.0
//
// What models say of themselves, known once for all copies of a client: one question at a time for each.
#ifndef INFERWIRE_DETAIL_MODEL_KNOWN_MODELS_H_
#define INFERWIRE_DETAIL_MODEL_KNOWN_MODELS_H_

#include <absl/functional/any_invocable.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "inferwire/clock.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/engine/gate.h"
#include "inferwire/detail/model/request_check.h"
#include "inferwire/infer_request.h"
#include "inferwire/model_metadata.h"
#include "inferwire/status.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// One model's metadata as it was last told. Safe from any thread.
class KnownModel {
 public:
  using Answer = std::shared_ptr<const ModelMetadata>;
  /// How long a question that had no answer is not asked again: requests go unchecked meanwhile.
  static constexpr absl::Duration kPause = absl::Seconds(10);

  /// What a question sends beside the model's name. Servers may answer others something else (tenants, routes).
  struct Manner {
    Metadata headers;
    bool token = false;  // of the call's own; two of them cannot be compared

    bool Like(const Manner& other) const { return !token && !other.token && headers == other.headers; }
  };
  /// Who waits for an answer. Where none is to be had, or the question was asked in another manner and may not mean
  /// him, he is told so: null.
  using Then = absl::AnyInvocable<void(Answer)>;

  /// Null where it was never told.
  Answer Get() const {
    std::lock_guard lock(mutex_);
    return metadata_;
  }
  void Set(ModelMetadata metadata) {
    auto kept = std::make_shared<const ModelMetadata>(std::move(metadata));
    std::lock_guard lock(mutex_);
    metadata_ = std::move(kept);
  }
  /// The model is being replaced: the next request asks, whatever was known; nor is an answer kept that is under way.
  void Forget() {
    std::lock_guard lock(mutex_);
    metadata_ = nullptr;
    ask_again_ = TimePoint::min();
    outdated_ = asking_;
  }

  enum class Turn {
    kAsk,   ///< wait; there is no question, and this one is to ask it and call Told
    kWait,  ///< wait: somebody asks already
    kNone,  ///< nothing to wait for: it was asked lately, in vain
  };
  /// `who` waits for an answer that is newer than this, until Leave.
  Turn Wait(const void* who, const Manner& manner, TimePoint now, Then then) {
    std::lock_guard lock(mutex_);
    if (!asking_ && now < ask_again_) return Turn::kNone;
    const bool asks = !std::exchange(asking_, true);
    if (asks) manner_ = manner;
    waiting_.emplace(who, Waiter{std::move(then), asks || manner_.Like(manner)});
    return asks ? Turn::kAsk : Turn::kWait;
  }
  void Leave(const void* who) {
    std::unique_lock lock(mutex_);
    const auto gone = waiting_.extract(who);
    lock.unlock();  // what it holds ends outside
  }
  void Told(absl::StatusOr<ModelMetadata> metadata, TimePoint now) {
    Answer answer;
    if (metadata.ok()) answer = std::make_shared<const ModelMetadata>(*std::move(metadata));
    std::map<const void*, Waiter> told;
    {
      std::lock_guard lock(mutex_);
      asking_ = false;
      if (!std::exchange(outdated_, false)) {
        if (answer != nullptr) metadata_ = answer;
        ask_again_ = answer != nullptr ? TimePoint::min() : After(now, kPause);
      }
      told.swap(waiting_);
    }
    for (auto& [who, waiter] : told) waiter.then(waiter.meant ? answer : nullptr);
  }

 private:
  struct Waiter {
    Then then;
    bool meant;
  };

  mutable std::mutex mutex_;
  Answer metadata_;
  TimePoint ask_again_ = TimePoint::min();
  bool asking_ = false;
  bool outdated_ = false;  // the model was replaced since the question was asked
  Manner manner_;          // of the question that is under way
  std::map<const void*, Waiter> waiting_;
};

/// Those of a client. Safe from any thread.
class KnownModels {
 public:
  /// `path`: of the method that tells; lives as long as the process.
  std::shared_ptr<KnownModel> Get(const std::string& path, std::string_view name, std::string_view version) {
    std::lock_guard lock(mutex_);
    const auto found = models_.find(std::tuple(name, version, &path));
    if (found != models_.end()) return found->second;
    // Names may come from strangers.
    if (models_.size() >= kMost)
      std::erase_if(models_, [](const auto& entry) { return entry.second.use_count() == 1; });
    auto model = std::make_shared<KnownModel>();
    models_.emplace(std::tuple(std::string(name), std::string(version), &path), model);
    return model;
  }
  std::size_t size() const {
    std::lock_guard lock(mutex_);
    return models_.size();
  }
  /// In all versions.
  void Forget(std::string_view name) {
    std::lock_guard lock(mutex_);
    for (auto at = models_.lower_bound(std::tuple(name, std::string_view(), static_cast<const std::string*>(nullptr)));
         at != models_.end() && std::get<0>(at->first) == name; ++at) {
      at->second->Forget();
    }
  }

 private:
  static constexpr std::size_t kMost = 1000;  // before those that nobody holds are forgotten

  mutable std::mutex mutex_;
  std::map<std::tuple<std::string, std::string, const std::string*>, std::shared_ptr<KnownModel>, std::less<>> models_;
};

/// Holds one request against what its model says of itself now. Where that cannot be learnt the request goes: the
/// server decides in any case.
class CheckGate final : public engine::Gate {
 public:
  /// Asks the server, and has the answer passed to Told.
  using Ask = absl::AnyInvocable<void()>;

  CheckGate(std::shared_ptr<KnownModel> model, InferRequest request, KnownModel::Manner manner, TimePoint now,
            AlsoTakes also_takes, Ask ask)
      : model_(std::move(model)),
        request_(std::make_shared<const InferRequest>(std::move(request))),
        manner_(std::move(manner)),
        now_(now),
        also_takes_(also_takes),
        ask_(std::move(ask)) {}
  ~CheckGate() override { model_->Leave(this); }

  std::optional<absl::Status> Enter(absl::AnyInvocable<void(absl::Status)> then) override {
    // It may be told while this gate goes.
    auto judge = [request = request_, also_takes = also_takes_,
                  then = std::move(then)](KnownModel::Answer answer) mutable {
      then(answer == nullptr ? absl::OkStatus() : Explained(CheckRequest(*request, *answer, also_takes)));
    };
    switch (model_->Wait(this, manner_, now_, std::move(judge))) {
      case KnownModel::Turn::kNone:
        return absl::OkStatus();
      case KnownModel::Turn::kAsk:
        ask_();
        break;
      case KnownModel::Turn::kWait:
        break;
    }
    return std::nullopt;
  }

 private:
  static absl::Status Explained(const absl::Status& status) {
    if (status.ok()) return status;
    return detail::MakeError(status.code(),
                             Cat(ToStd(status.message()), "; ModelOptions::check = false leaves it to the server"));
  }

  const std::shared_ptr<KnownModel> model_;
  const std::shared_ptr<const InferRequest> request_;
  const KnownModel::Manner manner_;
  const TimePoint now_;
  const AlsoTakes also_takes_;
  Ask ask_;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_MODEL_KNOWN_MODELS_H_
