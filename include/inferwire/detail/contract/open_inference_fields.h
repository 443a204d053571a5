// SPDX-License-Identifier: Apache-2.0
//
// Which fields the Open Inference Protocol's messages have, and how many of them an answer may bring.
#ifndef INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_FIELDS_H_
#define INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_FIELDS_H_

#include <cstddef>
#include <cstdint>

namespace inferwire {
inline namespace v0 {
namespace detail {

struct OpenInferenceFields {
  // Of ModelInferRequest and ModelInferResponse, as far as they agree.
  enum : std::uint32_t {
    kModelName = 1,
    kModelVersion = 2,
    kId = 3,
    kParameters = 4,
    kInputs = 5,
    kOutputs = 5,
    kRequestedOutputs = 6,
    kRawOutputContents = 6,
    kRawInputContents = 7,
  };
  // Of tensors.
  enum : std::uint32_t { kName = 1, kDatatype = 2, kShape = 3, kTensorParameters = 4, kContents = 5 };
  enum : std::uint32_t { kRequestedOutputParameters = 2 };
  // More than any model has, and few enough that what little stands for them cannot grow large here.
  static constexpr std::size_t kMostTensors = 4096, kMostParameters = 4096, kMostRank = 64;
  // Bytes of a tensor's name, which is compared with all others, and told in errors.
  static constexpr std::size_t kMostName = 1024;
  // Of ModelStreamInferResponse.
  enum : std::uint32_t { kErrorMessage = 1, kInferResponse = 2 };
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CONTRACT_OPEN_INFERENCE_FIELDS_H_
