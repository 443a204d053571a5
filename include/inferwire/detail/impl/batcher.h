// SPDX-License-Identifier: Apache-2.0
//
// Which requests join a batch, and which go alone.
#ifndef INFERWIRE_DETAIL_IMPL_BATCHER_H_
#define INFERWIRE_DETAIL_IMPL_BATCHER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "inferwire/batcher.h"
#include "inferwire/batcher_options.h"
#include "inferwire/call_options.h"
#include "inferwire/contract/contract.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/batch/queue.h"
#include "inferwire/detail/batch/rows.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

INFERWIRE_DECL absl::Status Validate(const BatcherOptions& options) {
  if (options.max_batch < 1) {
    return detail::InvalidArgumentError(Cat("max_batch is ", options.max_batch, "; expected at least 1"));
  }
  if (options.max_delay < absl::ZeroDuration()) {
    return detail::InvalidArgumentError(
        Cat("max_delay is ", absl::FormatDuration(options.max_delay), "; expected 0 or more"));
  }
  if (options.max_in_flight < 0) {
    return detail::InvalidArgumentError(Cat("max_in_flight is ", options.max_in_flight, "; expected 0 or more"));
  }
  return absl::OkStatus();
}

}  // namespace detail

struct Batcher::Shared {
  Shared(Model of, BatcherOptions given)
      : model(std::move(of)),
        options(given),
        valid(detail::Validate(options)),
        queue(std::make_shared<detail::BatchQueue>(model.client().engine(), options,
                                                   [model = model](InferRequest request, CallOptions call) {
                                                     return model.AsyncInfer(std::move(request), std::move(call));
                                                   })) {}
  ~Shared() { queue->Close(); }

  const Model model;
  const BatcherOptions options;
  const absl::Status valid;
  const std::shared_ptr<detail::BatchQueue> queue;
};

INFERWIRE_DECL Batcher::Batcher(Model model, BatcherOptions options)
    : shared_(std::make_shared<const Shared>(std::move(model), options)) {}

INFERWIRE_DECL const Model& Batcher::model() const { return shared_->model; }
INFERWIRE_DECL const BatcherOptions& Batcher::options() const { return shared_->options; }

INFERWIRE_DECL absl::StatusOr<InferResult> Batcher::Infer(InferRequest request, CallOptions options) const {
  if (!shared_->valid.ok()) return shared_->valid;
  const auto rows = Joins(request, options);
  if (!rows.has_value()) return shared_->model.Infer(std::move(request), std::move(options));
  absl::StatusOr<InferResult> result = shared_->queue->Add(request, *rows, options).Get();
  detail::Deliver(result, request.output_buffers());
  return result;
}

INFERWIRE_DECL Future<InferResult> Batcher::AsyncInfer(InferRequest request, CallOptions options) const {
  if (!shared_->valid.ok()) return MakeReadyFuture<InferResult>(shared_->valid);
  const auto rows = Joins(request, options);
  if (!rows.has_value()) return shared_->model.AsyncInfer(std::move(request), std::move(options));
  Future<InferResult> result = shared_->queue->Add(request, *rows, options);
  if (request.output_buffers().empty()) return result;
  return std::move(result).Then([buffers = request.output_buffers()](absl::StatusOr<InferResult> received) {
    detail::Deliver(received, buffers);
    return received;
  });
}

// How many rows of a batch it takes; nothing where it goes alone.
INFERWIRE_DECL std::optional<std::int64_t> Batcher::Joins(const InferRequest& request, const CallOptions& call) const {
  if (detail::HasOwnHeaders(call) || call.attempt_timeout.has_value() || call.retry.has_value() ||
      call.hedge.has_value() || !call.affinity.empty() ||
      call.timeout.value_or(absl::InfiniteDuration()) <= absl::ZeroDuration()) {
    return std::nullopt;
  }
  if (!detail::ValidateLimits(call).ok() || !request.Validate().ok() || !CarriesOnlyTensors(request, "a batch").ok())
    return std::nullopt;
  const auto rows = detail::CountRows(request);
  return rows.has_value() && *rows <= shared_->options.max_batch ? rows : std::nullopt;
}

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_IMPL_BATCHER_H_
