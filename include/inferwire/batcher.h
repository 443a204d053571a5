// SPDX-License-Identifier: Apache-2.0
//
// Batcher: many small calls become one request, for servers that do not batch by themselves.
#ifndef INFERWIRE_BATCHER_H_
#define INFERWIRE_BATCHER_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/time/time.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "inferwire/batch_queue.h"
#include "inferwire/batch_rows.h"
#include "inferwire/call_options.h"
#include "inferwire/contract/contract.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model.h"

namespace inferwire {
inline namespace v0 {

/// A model that is called in batches: `Batcher<OpenInference> batcher(model, {.max_batch = 32})`, then Infer and
/// AsyncInfer as of Model. A cheap handle: copies share everything, and any number of threads may use them. Once the
/// last one is gone, what has gathered leaves without waiting for more; futures go on.
///
/// Requests travel together where they agree in their inputs' names, datatypes and dimensions beside the first, and in
/// the outputs that they ask for; they are joined along the first dimension, of which a request may bring several rows,
/// and each gets its own rows of the answer, with its own id. The first dimension of every output must be the batch's
/// rows, else all of the batch fail with INTERNAL, naming the output and its shape. Elements are copied when a call is
/// made: memory that was lent is free as soon as AsyncInfer has returned.
///
/// What cannot share is sent alone, as Model sends it: requests with parameters, a priority, a queue timeout, a step of
/// a sequence or shared memory, those without rows or with more than max_batch, and calls whose options have metadata,
/// a token, compression, a parent, or an attempt_timeout, retry or hedge of their own.
///
/// A caller whose time is up, or who cancels or drops its future, is taken out of a batch that has not left; of one
/// that has, its rows are dropped when they come, and the call is cancelled once nobody waits for it. The call may take
/// as long as the most patient of its callers. A failed batch gives everyone its status; one that fails with
/// INVALID_ARGUMENT is sent again, each request alone, so that one that is wrong fails by itself.
template <Contract C>
class Batcher {
 public:
  /// Options that make no sense are INVALID_ARGUMENT of every call.
  explicit Batcher(Model<C> model, BatcherOptions options = {})
      : shared_(std::make_shared<const Shared>(std::move(model), options)) {}

  const Model<C>& model() const { return shared_->model; }
  const BatcherOptions& options() const { return shared_->options; }

  /// Calls and waits. Not in a continuation on the client's executor, which batches need: await AsyncInfer there.
  absl::StatusOr<InferResult> Infer(InferRequest request, CallOptions options = {}) const {
    if (!shared_->valid.ok()) return shared_->valid;
    const auto rows = Joins(request, options);
    if (!rows.has_value()) return shared_->model.Infer(std::move(request), std::move(options));
    absl::StatusOr<InferResult> result = shared_->queue->Add(request, *rows, options).Get();
    detail::Deliver(result, request.output_buffers());
    return result;
  }

  /// Calls and returns at once; the future has the result.
  Future<InferResult> AsyncInfer(InferRequest request, CallOptions options = {}) const {
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

 private:
  struct Shared {
    Shared(Model<C> of, BatcherOptions given)
        : model(std::move(of)),
          options(given),
          valid(detail::Validate(options)),
          queue(std::make_shared<detail::BatchQueue>(model.client().engine(), options,
                                                     [model = model](InferRequest request, CallOptions call) {
                                                       return model.AsyncInfer(std::move(request), std::move(call));
                                                     })) {}
    ~Shared() { queue->Close(); }

    const Model<C> model;
    const BatcherOptions options;
    const absl::Status valid;
    const std::shared_ptr<detail::BatchQueue> queue;
  };

  // How many rows of a batch it takes; nothing where it goes alone.
  std::optional<std::int64_t> Joins(const InferRequest& request, const CallOptions& call) const {
    if (detail::HasOwnHeaders(call) || call.attempt_timeout.has_value() || call.retry.has_value() ||
        call.hedge.has_value() || call.timeout.value_or(absl::InfiniteDuration()) <= absl::ZeroDuration()) {
      return std::nullopt;
    }
    if (!detail::ValidateLimits(call).ok() || !request.Validate().ok() || !CarriesOnlyTensors(request, "a batch").ok())
      return std::nullopt;
    const auto rows = detail::CountRows(request);
    return rows.has_value() && *rows <= shared_->options.max_batch ? rows : std::nullopt;
  }

  std::shared_ptr<const Shared> shared_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_BATCHER_H_
