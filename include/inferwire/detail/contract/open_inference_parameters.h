// SPDX-License-Identifier: Apache-2.0
//
// Parameters of the Open Inference Protocol: the reserved ones, said right, and the callers' own.
#ifndef INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_PARAMETERS_H_
#define INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_PARAMETERS_H_

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "inferwire/contract/open_inference.pb.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/infer_request.h"
#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {

/// What the protocol and Triton reserve among parameters, and with which kind of value (semantics that no descriptor
/// shows). Every function refuses with INVALID_ARGUMENT what a server would refuse, or silently misunderstand.
class OpenInferenceParameters {
 public:
  using Message = open_inference::InferParameter;

  static void Set(Message& out, const Parameter& value) {
    std::visit(
        [&](const auto& v) {
          using V = std::decay_t<decltype(v)>;
          if constexpr (std::is_same_v<V, bool>) {
            out.set_bool_param(v);
          } else if constexpr (std::is_same_v<V, std::int64_t>) {
            out.set_int64_param(v);
          } else if constexpr (std::is_same_v<V, double>) {
            out.set_double_param(v);
          } else {
            out.set_string_param(v);
          }
        },
        value);
  }

  /// An unsigned value beyond int64 becomes a double: nearly right rather than negative. The message must have one.
  static Parameter Get(const Message& value) {
    if (value.has_bool_param()) return value.bool_param();
    if (value.has_int64_param()) return value.int64_param();
    if (value.has_double_param()) return value.double_param();
    if (value.has_string_param()) return std::string(value.string_param());
    if (value.uint64_param() <= static_cast<std::uint64_t>((std::numeric_limits<std::int64_t>::max)())) {
      return static_cast<std::int64_t>(value.uint64_param());
    }
    return static_cast<double>(value.uint64_param());
  }

  /// A request's parameters: what its fields say, and the caller's own. The request was validated.
  template <class Map>
  static absl::Status Fill(const InferRequest& request, Map& out) {
    for (const auto& [key, value] : request.parameters()) {
      if (absl::Status status = CheckOwn(key, value); !status.ok()) return status;
      Set(out[key], value);
    }
    const auto reserve = [&](const char* key, const Parameter& value) {
      if (out.contains(key)) {
        return detail::InvalidArgumentError(detail::Cat("'", key,
                                                        "' was given as a field of the request and again as a "
                                                        "parameter"));
      }
      Set(out[key], value);
      return absl::OkStatus();
    };
    absl::Status status;
    if (request.priority() > 0) status.Update(reserve("priority", request.priority()));
    if (request.queue_timeout() > absl::ZeroDuration()) {
      // Rounded up: 0 would mean that there is no limit.
      status.Update(
          reserve("timeout", absl::ToInt64Microseconds(absl::Ceil(request.queue_timeout(), absl::Microseconds(1)))));
    }
    if (const SequenceStep& step = request.sequence(); step.has_id()) {
      const auto* const number = std::get_if<std::int64_t>(&step.id);
      status.Update(
          reserve("sequence_id", number != nullptr ? Parameter(*number) : Parameter(std::get<std::string>(step.id))));
      if (step.start) status.Update(reserve("sequence_start", true));
      if (step.end) status.Update(reserve("sequence_end", true));
    }
    return status;
  }

  template <class Map>
  static absl::Status Fill(const InferInput& input, Map& out) {
    const std::string what = detail::Cat("input '", input.name(), "'");
    if (absl::Status status = FillOwn(what, input.parameters(), out); !status.ok()) return status;
    if (input.placement().has_value()) Place(*input.placement(), out);
    return absl::OkStatus();
  }

  template <class Map>
  static absl::Status Fill(const RequestedOutput& output, Map& out) {
    const std::string what = detail::Cat("output '", output.name, "'");
    if (absl::Status status = FillOwn(what, output.parameters, out); !status.ok()) return status;
    if (output.placement.has_value()) Place(*output.placement, out);
    if (output.classification > 0) out["classification"].set_int64_param(output.classification);
    return absl::OkStatus();
  }

  /// For servers that know no double: they would see a parameter without a value.
  static absl::Status RefuseDoubles(const InferRequest& request, std::string_view server) {
    const auto check = [&](const Parameters& parameters) {
      for (const auto& [key, value] : parameters) {
        if (std::holds_alternative<double>(value)) {
          return detail::InvalidArgumentError(
              detail::Cat("the parameter '", key, "' is a double, which ", server, " cannot read; send it as text"));
        }
      }
      return absl::OkStatus();
    };
    absl::Status status = check(request.parameters());
    for (const InferInput& input : request.inputs()) status.Update(check(input.parameters()));
    for (const RequestedOutput& output : request.outputs()) status.Update(check(output.parameters));
    return status;
  }

 private:
  static absl::Status Wrong(std::string_view key, std::string_view expected) {
    return detail::InvalidArgumentError(detail::Cat("the parameter '", key, "' is reserved; expected ", expected));
  }

  // A reserved key is let through where it is what a server expects.
  static absl::Status CheckOwn(std::string_view key, const Parameter& value) {
    const auto* const number = std::get_if<std::int64_t>(&value);
    const bool is_bool = std::holds_alternative<bool>(value);
    if (key == "sequence_id") {
      if (number != nullptr || std::holds_alternative<std::string>(value)) return absl::OkStatus();
      return Wrong(key, "an integer or a text, as InferRequest::set_sequence sends it");
    }
    if (key == "sequence_start" || key == "sequence_end" || key == "triton_enable_empty_final_response") {
      return is_bool ? absl::OkStatus() : Wrong(key, "a bool");
    }
    if (key == "priority" || key == "timeout") {
      return number != nullptr && *number >= 0 ? absl::OkStatus() : Wrong(key, "an integer of 0 or more");
    }
    if (key.starts_with("triton_")) return Wrong(key, "another name: those that begin with triton_ are the server's");
    if (key == "binary_data_output" || key == "headers") return Wrong(key, "another name: over gRPC it has no meaning");
    return absl::OkStatus();
  }

  template <class Map>
  static absl::Status FillOwn(std::string_view what, const Parameters& parameters, Map& out) {
    for (const auto& [key, value] : parameters) {
      if (key.starts_with("shared_memory_")) {
        return detail::InvalidArgumentError(
            detail::Cat(what, ": the parameter '", key, "' is reserved; give it a SharedMemoryPlacement"));
      }
      if (key == "classification" || key == "binary_data_output" || key == "binary_data" || key == "binary_data_size") {
        return detail::InvalidArgumentError(detail::Cat(what, ": the parameter '", key, "' is reserved"));
      }
      Set(out[key], value);
    }
    return absl::OkStatus();
  }

  template <class Map>
  static void Place(const SharedMemoryPlacement& placement, Map& out) {
    out["shared_memory_region"].set_string_param(placement.region);
    out["shared_memory_byte_size"].set_int64_param(static_cast<std::int64_t>(placement.byte_size));
    if (placement.offset > 0) {
      out["shared_memory_offset"].set_int64_param(static_cast<std::int64_t>(placement.offset));
    }
  }
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_PARAMETERS_H_
