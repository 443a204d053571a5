// SPDX-License-Identifier: Apache-2.0
//
// Batcher: many small calls become one request, for servers that do not batch by themselves.
#ifndef INFERWIRE_BATCHER_H_
#define INFERWIRE_BATCHER_H_

#include <absl/base/attributes.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "inferwire/batcher_options.h"
#include "inferwire/call_options.h"
#include "inferwire/detail/base/form.h"
#include "inferwire/future.h"
#include "inferwire/infer_request.h"
#include "inferwire/infer_result.h"
#include "inferwire/model.h"

namespace inferwire {
inline namespace v0 {

/// A model that is called in batches: `Batcher batcher(model, {.max_batch = 32})`, then Infer and
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
/// a token, compression, a parent, an affinity, or an attempt_timeout, retry or hedge of their own.
///
/// A caller whose time is up, or who cancels or drops its future, is taken out of a batch that has not left; of one
/// that has, its rows are dropped when they come, and the call is cancelled once nobody waits for it. The call may take
/// as long as the most patient of its callers. A failed batch gives everyone its status; one that fails with
/// INVALID_ARGUMENT is sent again, each request alone, so that one that is wrong fails by itself.
class Batcher {
 public:
  /// Options that make no sense are INVALID_ARGUMENT of every call.
  explicit Batcher(Model model, BatcherOptions options = {});

  const Model& model() const ABSL_ATTRIBUTE_LIFETIME_BOUND;
  const BatcherOptions& options() const ABSL_ATTRIBUTE_LIFETIME_BOUND;

  /// Calls and waits. Not in a continuation on the client's executor, which batches need: await AsyncInfer there.
  absl::StatusOr<InferResult> Infer(InferRequest request, CallOptions options = {}) const;

  /// Calls and returns at once; the future has the result.
  Future<InferResult> AsyncInfer(InferRequest request, CallOptions options = {}) const;

 private:
  struct Shared;

  std::optional<std::int64_t> Joins(const InferRequest& request, const CallOptions& call) const;

  std::shared_ptr<const Shared> shared_;
};

}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/batcher.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_BATCHER_H_
