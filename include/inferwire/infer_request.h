// SPDX-License-Identifier: Apache-2.0
//
// A request for inference, whatever the contract: named tensors, lent or owned.
#ifndef INFERWIRE_INFER_REQUEST_H_
#define INFERWIRE_INFER_REQUEST_H_

#include <absl/base/attributes.h>
#include <absl/container/inlined_vector.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <absl/strings/escaping.h>
#include <absl/time/time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/detail/base/utf8.h"
#include "inferwire/infer_input.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {

/// An output asked for: `request.add_output({.name = "label", .classification = 3})`.
struct RequestedOutput {
  std::string name;
  /// If > 0, the greatest N elements are returned as strings instead of the tensor, each as "value:index" or
  /// "value:index:label".
  std::int64_t classification = 0;
  /// Where the server puts the elements, in place of the answer.
  std::optional<SharedMemoryPlacement> placement = std::nullopt;
  /// What a server wants to know of this output beside that.
  Parameters parameters = {};

  /// INVALID_ARGUMENT naming the output, what was given and what was expected.
  absl::Status Validate() const {
    if (name.empty()) return detail::InvalidArgumentError("a requested output has an empty name");
    if (absl::Status status = detail::CheckText("the name of a requested output", name); !status.ok()) return status;
    if (absl::Status status = detail::CheckText(detail::Cat("output '", name, "'"), parameters); !status.ok()) {
      return status;
    }
    if (classification < 0) {
      return detail::InvalidArgumentError(
          detail::Cat("output '", name, "': a classification of ", classification, "; expected 0 or more"));
    }
    if (!placement.has_value()) return absl::OkStatus();
    if (classification > 0) {
      return detail::InvalidArgumentError(
          detail::Cat("output '", name, "': a classification cannot be put into shared memory"));
    }
    return detail::CheckPlacement(detail::Cat("output '", name, "'"), *placement);
  }
};

/// One step of a sequence: requests that belong together and share a state in the server. They go in order, one at a
/// time, to one server, and are never tried again by themselves.
struct SequenceStep {
  /// The sequence's name, a number or a text, unique among those that run. 0 and "" mean that there is none.
  std::variant<std::int64_t, std::string> id = std::int64_t{0};
  bool start = false;
  bool end = false;

  bool has_id() const {
    const auto* const number = std::get_if<std::int64_t>(&id);
    return number != nullptr ? *number != 0 : !std::get<std::string>(id).empty();
  }
};

/// What a model is asked: inputs, and whatever the contract carries beside them. A value; copies share the elements.
class InferRequest {
 public:
  InferRequest() = default;
  InferRequest(std::initializer_list<InferInput> inputs) : inputs_(inputs) {}  // NOLINT: meant to be implicit
  explicit InferRequest(std::vector<InferInput> inputs)
      : inputs_(std::make_move_iterator(inputs.begin()), std::make_move_iterator(inputs.end())) {}

  const std::string& model() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return model_; }
  const std::string& version() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return version_; }
  const std::string& id() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return id_; }
  std::span<const InferInput> inputs() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return inputs_; }
  /// The outputs asked for; none means all.
  const std::vector<RequestedOutput>& outputs() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return outputs_; }
  std::int64_t priority() const { return priority_; }
  absl::Duration queue_timeout() const { return queue_timeout_; }
  const SequenceStep& sequence() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return sequence_; }
  const Parameters& parameters() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return parameters_; }

  void set_model(std::string model) { model_ = std::move(model); }
  /// Empty: the server's choice.
  void set_version(std::string version) { version_ = std::move(version); }
  /// Echoed by servers.
  void set_id(std::string id) { id_ = std::move(id); }
  /// Asks for these outputs as they are.
  void set_outputs(std::vector<std::string> outputs) {
    outputs_.clear();
    for (std::string& name : outputs) add_output({.name = std::move(name)});
  }
  void add_output(RequestedOutput output) { outputs_.push_back(std::move(output)); }
  /// 1 goes first, greater ones later; 0: as the model says.
  void set_priority(std::int64_t priority) { priority_ = priority; }
  /// The longest wait in the server's queue, in whole microseconds; zero: as the model says. The call's own deadline is
  /// another matter.
  void set_queue_timeout(absl::Duration timeout) { queue_timeout_ = timeout; }
  void set_sequence(SequenceStep step) { sequence_ = std::move(step); }
  /// Whatever else a server wants to know. Unsigned numbers beyond 2^63 - 1 have no place in the protocols.
  void set_parameter(std::string key, Parameter value) {
    parameters_.insert_or_assign(std::move(key), std::move(value));
  }
  void add_input(InferInput input) { inputs_.push_back(std::move(input)); }

  /// Has an output copied straight from what was received to memory of yours, which must stay until the call has
  /// completed, and have room for all of its elements and no more. The result then refers to it.
  template <TensorElement T>
    requires(std::is_trivially_copyable_v<T> && !std::is_same_v<T, std::string_view>)
  void set_output_buffer(std::string name, std::span<T> to) {
    buffers_.push_back({std::move(name), DataTypeOf<T>, std::as_writable_bytes(to)});
  }
  struct OutputBuffer {
    std::string name;
    DataType datatype;
    std::span<std::byte> to;
  };
  const std::vector<OutputBuffer>& output_buffers() const ABSL_ATTRIBUTE_LIFETIME_BOUND { return buffers_; }

  /// The elements of an input, for contracts that encode them. NOT_FOUND or INVALID_ARGUMENT, naming what there is. T
  /// is std::string for BYTES.
  template <TensorElement T>
    requires(!std::is_same_v<T, std::string_view>)
  absl::StatusOr<std::span<const T>> Get(std::string_view name) const& ABSL_ATTRIBUTE_LIFETIME_BOUND {
    for (const InferInput& input : inputs_) {
      if (input.name() != name) continue;
      if (input.datatype() != DataTypeOf<T>) {
        return detail::InvalidArgumentError(detail::Cat("input '", name, "' is ", DataTypeName(input.datatype()),
                                                        "; expected ", DataTypeName(DataTypeOf<T>)));
      }
      if (input.placement().has_value()) {
        return detail::InvalidArgumentError(
            detail::Cat("input '", name, "' lies in the shared-memory region '", input.placement()->region, "'"));
      }
      if constexpr (std::is_same_v<T, std::string>) {
        return input.strings();
      } else {
        return std::span<const T>(reinterpret_cast<const T*>(input.bytes().data()), input.size());
      }
    }
    std::string names;
    for (const InferInput& input : inputs_) names += detail::Cat(names.empty() ? "'" : ", '", input.name(), "'");
    return detail::NotFoundError(detail::Cat("no input '", name, "'; there is ", names.empty() ? "none" : names));
  }

  template <TensorElement T>
    requires(!std::is_same_v<T, std::string_view>)
  absl::StatusOr<std::span<const T>> Get(std::string_view /*name*/) const&& {
    static_assert(
        sizeof(T) == 0,
        "inferwire: Get gives a view of the request, which ends with this expression: keep the request first");
    return detail::InternalError("");
  }

  /// INVALID_ARGUMENT for an input whose shape does not fit its elements, an empty name, one given twice, or a number
  /// that makes no sense.
  absl::Status Validate() const {
    if (priority_ < 0) {
      return detail::InvalidArgumentError(detail::Cat("a priority of ", priority_, "; expected 0 or more"));
    }
    if (queue_timeout_ < absl::ZeroDuration() || queue_timeout_ == absl::InfiniteDuration()) {
      return detail::InvalidArgumentError(
          detail::Cat("a queue timeout of ", absl::FormatDuration(queue_timeout_), "; expected 0 or more, and an end"));
    }
    if ((sequence_.start || sequence_.end) && !sequence_.has_id()) {
      return detail::InvalidArgumentError("the start or end of a sequence needs its id, neither 0 nor empty");
    }
    if (absl::Status status = ValidateText(); !status.ok()) return status;
    if (absl::Status status = ValidateOutputs(); !status.ok()) return status;
    if (absl::Status status = ValidateEach(inputs_); !status.ok()) return status;
    if (const auto twice =
            NamedTwice(inputs_, [](const InferInput& input) { return std::string_view(input.name()); })) {
      return detail::InvalidArgumentError(detail::Cat("input '", *twice, "' was given twice"));
    }
    return absl::OkStatus();
  }

 private:
  template <class Tensors>
  static absl::Status ValidateEach(const Tensors& tensors) {
    for (const auto& tensor : tensors) {
      if (absl::Status status = tensor.Validate(); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  template <class Tensors, class NameOf>
  static std::optional<std::string_view> NamedTwice(const Tensors& tensors, NameOf name_of) {
    absl::InlinedVector<std::string_view, 8> names;
    for (const auto& tensor : tensors) names.push_back(name_of(tensor));
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    return twice != names.end() ? std::make_optional(*twice) : std::nullopt;
  }
  absl::Status ValidateText() const {
    const auto* const sequence = std::get_if<std::string>(&sequence_.id);
    absl::Status status = detail::CheckText("the model's name", model_);
    status.Update(detail::CheckText("the model's version", version_));
    status.Update(detail::CheckText("the request's id", id_));
    if (sequence != nullptr) status.Update(detail::CheckText("the sequence's id", *sequence));
    if (!parameters_.empty()) status.Update(detail::CheckText("", parameters_));
    return status;
  }
  absl::Status ValidateOutputs() const {
    if (absl::Status status = ValidateEach(outputs_); !status.ok()) return status;
    if (const auto twice =
            NamedTwice(outputs_, [](const RequestedOutput& output) { return std::string_view(output.name); })) {
      return detail::InvalidArgumentError(detail::Cat("output '", *twice, "' was asked for twice"));
    }
    return absl::OkStatus();
  }

  std::string model_;
  std::string version_;
  std::string id_;
  absl::InlinedVector<InferInput, 2> inputs_;  // most models take one or two
  std::vector<OutputBuffer> buffers_;
  std::vector<RequestedOutput> outputs_;
  std::int64_t priority_ = 0;
  absl::Duration queue_timeout_;
  SequenceStep sequence_;
  Parameters parameters_;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_INFER_REQUEST_H_
