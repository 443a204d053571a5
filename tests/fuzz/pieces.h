// SPDX-License-Identifier: Apache-2.0
//
// Inputs cut into pieces, at places that change with the input.
#ifndef INFERWIRE_TESTS_FUZZ_PIECES_H_
#define INFERWIRE_TESTS_FUZZ_PIECES_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "fuzz/heap.h"
#include "inferwire/detail/base/pieces.h"
#include "inferwire/detail/wire/message.h"

namespace inferwire_fuzz {

enum class Cut { kNot, kEachByte, kAnywhere };
inline constexpr Cut kCuts[] = {Cut::kNot, Cut::kEachByte, Cut::kAnywhere};

inline std::vector<std::string_view> CutUp(std::string_view bytes, Cut cut) {
  std::uint32_t state = 2166136261U;  // FNV-1a
  for (const char c : bytes) state = (state ^ static_cast<unsigned char>(c)) * 16777619U;
  std::vector<std::string_view> out;
  while (!bytes.empty()) {
    std::size_t size = bytes.size();
    if (cut == Cut::kEachByte) size = bytes.size() > 4096 ? 61 : 1;
    if (cut == Cut::kAnywhere) {
      state = state * 1664525U + 1013904223U;
      size = 1 + (state >> 8) % (1 + (state >> 28) * 7);
    }
    out.push_back(bytes.substr(0, size));
    bytes.remove_prefix((std::min)(size, bytes.size()));
  }
  return out;
}

/// As it comes from the transport.
inline inferwire::detail::wire::Reply ToReply(std::string_view bytes, Cut cut) {
  std::vector<grpc::Slice> slices;
  for (const std::string_view piece : CutUp(bytes, cut)) slices.emplace_back(piece.data(), piece.size());
  grpc::ByteBuffer buffer(slices.data(), slices.size());
  inferwire::detail::wire::Reply reply;
  Require(grpc::SerializationTraits<inferwire::detail::wire::Reply>::Deserialize(&buffer, &reply).ok(),
          "a reply comes in");
  return reply;
}

}  // namespace inferwire_fuzz

#endif  // INFERWIRE_TESTS_FUZZ_PIECES_H_
