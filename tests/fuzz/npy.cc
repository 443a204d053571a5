// SPDX-License-Identifier: Apache-2.0
//
// .npy files: what is read can be written, and reads the same again.
#include "inferwire/npy.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "fuzz/heap.h"

using inferwire::DataType;
using inferwire::InferInput;
using inferwire_fuzz::Require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // A string is an object of 32 bytes and arrives in one; it grows by doubling.
  const absl::StatusOr<InferInput> input =
      inferwire_fuzz::Within(3 * size + 40 * size + 8192, [&] { return inferwire::ParseNpy("x", std::string(bytes)); });
  if (!input.ok()) {
    Require(input.status().code() == absl::StatusCode::kInvalidArgument, "a refusal is INVALID_ARGUMENT");
    return 0;
  }
  Require(input->Validate().ok(), "what was read can be sent");
  // Strings are written in the width of the longest.
  std::size_t longest = 1;
  for (const std::string& element : input->strings()) longest = (std::max)(longest, element.size());
  if (longest * input->size() > (std::size_t{1} << 20)) return 0;
  const absl::StatusOr<std::string> anew = inferwire::FormatNpy(*input);
  Require(anew.ok(), "what was read can be written");
  const absl::StatusOr<InferInput> again = inferwire::ParseNpy("x", std::string(*anew));
  Require(again.ok() && again->datatype() == input->datatype() && again->shape() == input->shape(), "and read again");
  Require(std::equal(again->bytes().begin(), again->bytes().end(), input->bytes().begin(), input->bytes().end()) &&
              std::equal(again->strings().begin(), again->strings().end(), input->strings().begin(),
                         input->strings().end()),
          "as it was");
  return 0;
}
