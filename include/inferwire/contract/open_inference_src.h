// SPDX-License-Identifier: Apache-2.0
//
// The Open Inference Protocol in the compiled form: beside inferwire/src.h, what one file of a program includes that
// speaks it. With CMake, inferwire::open_inference is that file too where inferwire::compiled was asked for.
#ifndef INFERWIRE_CONTRACT_OPEN_INFERENCE_SRC_H_
#define INFERWIRE_CONTRACT_OPEN_INFERENCE_SRC_H_

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#error \
    "inferwire/contract/open_inference_src.h is for programs whose files are all compiled with INFERWIRE_SEPARATE_COMPILATION defined"
#endif

#include "inferwire/contract/open_inference.h"
#include "inferwire/detail/contract/table.h"
#include "inferwire/detail/impl/open_inference_admin.h"
#include "inferwire/detail/impl/open_inference_decode.h"
#include "inferwire/detail/impl/open_inference_encode.h"
#include "inferwire/detail/impl/open_inference_stream.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

template struct TableOf<OpenInference>;
template struct TableOf<OpenInferenceMlServer>;
template struct TableOf<OpenInferenceKServe>;
template struct TableOf<OpenInferenceTorchServe>;

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_CONTRACT_OPEN_INFERENCE_SRC_H_
