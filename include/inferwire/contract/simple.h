// SPDX-License-Identifier: Apache-2.0
//
// The project's own contract, inference.Inference: one numeric tensor and one text each way.
#ifndef INFERWIRE_CONTRACT_SIMPLE_H_
#define INFERWIRE_CONTRACT_SIMPLE_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/contract/contract.h"
#include "inferwire/detail/base/error.h"
#include "inferwire/detail/base/text.h"
#include "inferwire/inference.grpc.pb.h"
#include "inferwire/inference.h"  // IWYU pragma: export

namespace inferwire {
inline namespace v0 {

/// inference.Inference. Carries an FP32 input of any name, and a BYTES input of one element, whose usual names are
/// "text" and "prompt". Answers have the FP32 output "output" and, where there is one, the BYTES output "text".
struct Simple {
  static constexpr std::string_view kName = "simple";
  using Infer = Rpc<&inference::Inference::Stub::RunInference>;
  using StreamInfer = Rpc<&inference::Inference::Stub::StreamInference>;

  static absl::StatusOr<inference::Request> Encode(const InferRequest& request) {
    if (!request.version().empty()) return Cannot("a model version", request.version());
    if (!request.outputs().empty()) return Cannot("a choice of outputs", request.outputs().front().name);
    if (absl::Status status = CarriesOnlyTensors(request, "inference.Inference"); !status.ok()) return status;
    inference::Request out;
    out.set_model(request.model());
    out.set_id(request.id());
    bool numbers = false;
    bool text = false;
    for (const InferInput& input : request.inputs()) {
      if (input.datatype() == DataType::kFp32 && !std::exchange(numbers, true)) {
        const std::span<const float> elements(reinterpret_cast<const float*>(input.bytes().data()), input.size());
        out.mutable_input()->Add(elements.begin(), elements.end());
        out.mutable_shape()->Add(input.shape().begin(), input.shape().end());
      } else if (input.datatype() == DataType::kBytes && input.size() == 1 && !std::exchange(text, true)) {
        out.set_text(input.strings().front());
      } else {
        return detail::InvalidArgumentError(detail::Cat(
            "inference.Inference carries one FP32 input and one BYTES input of a single element; '", input.name(),
            "' (", DataTypeName(input.datatype()), " ", input.shape().ToString(), ") does not fit in"));
      }
    }
    return out;
  }

  static absl::StatusOr<InferResult> Decode(inference::Response&& response) {
    InferResult result;
    result.set_model(std::string(response.model()));
    result.set_id(std::string(response.id()));
    const std::int64_t count = response.output_size();
    // A server that says nothing of the shape means a vector.
    const Shape shape = response.shape().empty()
                            ? Shape{count}
                            : Shape(std::span<const std::int64_t>(response.shape().data(),
                                                                  static_cast<std::size_t>(response.shape_size())));
    if (count > 0 || !response.shape().empty()) {
      result.Add("output", std::vector<float>(response.output().begin(), response.output().end()), shape);
    }
    if (!response.text().empty())
      result.Add("text", std::vector<std::string>{std::move(*response.mutable_text())}, {1});
    return result;
  }

 private:
  static absl::Status Cannot(const char* what, const std::string& given) {
    return detail::InvalidArgumentError(
        detail::Cat("inference.Inference cannot carry ", what, ", but '", given, "' was given"));
  }
};
static_assert(StreamingContract<Simple>);
template <>
inline constexpr bool kBuiltIn<Simple> = true;

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_SIMPLE_H_
