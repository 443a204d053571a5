// SPDX-License-Identifier: Apache-2.0
//
// A request of the Open Inference Protocol in a model's terms, and the model's answer in the protocol's.
#ifndef INFERWIRE_EXAMPLES_SERVER_OPEN_INFERENCE_REQUEST_H_
#define INFERWIRE_EXAMPLES_SERVER_OPEN_INFERENCE_REQUEST_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "open_inference_public.pb.h"
#include "server/models.h"
#include "server/shared_memory.h"
#include "server/tensor.h"

namespace inferwire::examples {

/// Borrows from the message it was read from. Move-only.
class OpenInferenceRequest {
 public:
  OpenInferenceRequest(OpenInferenceRequest&&) = default;
  OpenInferenceRequest& operator=(OpenInferenceRequest&&) = default;

  /// INVALID_ARGUMENT naming what was given and what was expected.
  static absl::StatusOr<OpenInferenceRequest> Read(const inference::ModelInferRequest& message, const Model& model,
                                                   const SharedMemory& shared_memory);

  const inference::ModelInferRequest& message() const { return *message_; }
  const Model& model() const { return *model_; }
  const std::vector<TensorView>& inputs() const { return inputs_; }
  const SequenceStep& step() const { return step_; }
  /// Whether a stream shall say with an empty answer that there are no more.
  bool wants_end() const { return wants_end_; }

  /// Puts the outputs that were asked for into the answer or into shared memory. INVALID_ARGUMENT where they do not
  /// fit.
  absl::Status Write(std::vector<Tensor> outputs, inference::ModelInferResponse& answer) const;
  /// What every answer has.
  void Head(inference::ModelInferResponse& answer) const;

 private:
  struct Output {
    std::size_t index;  // among the model's
    std::optional<SharedMemory::View> place;
  };

  OpenInferenceRequest() = default;

  absl::Status ReadParameters();
  absl::Status ReadInputs(const SharedMemory& shared_memory);
  absl::Status ReadOutputs(const SharedMemory& shared_memory);

  const inference::ModelInferRequest* message_ = nullptr;
  const Model* model_ = nullptr;
  std::vector<TensorView> inputs_;
  std::deque<std::string> storage_;                   // of inputs that came as typed contents
  std::vector<std::shared_ptr<const void>> regions_;  // of inputs in shared memory
  std::vector<Output> outputs_;
  SequenceStep step_;
  bool wants_end_ = false;
  bool raw_ = false;  // how the answer goes: as the request came
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_OPEN_INFERENCE_REQUEST_H_
