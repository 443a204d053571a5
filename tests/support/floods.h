// SPDX-License-Identifier: Apache-2.0
//
// What a server may send without end though it means nothing.
#ifndef INFERWIRE_TESTS_SUPPORT_FLOODS_H_
#define INFERWIRE_TESTS_SUPPORT_FLOODS_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/raw_http2.h"

namespace inferwire_test {

struct Flood {
  std::string name;
  std::string frame(std::uint32_t stream) const {
    if (name == "empty DATA" || name == "empty DATA of a stream that has ended") {
      return FrameOf(FrameType::kData, 0, stream);
    }
    if (name == "PING") return FrameOf(FrameType::kPing, 0, 0, "12345678");
    if (name == "PING that answers none") return FrameOf(FrameType::kPing, kAck, 0, "12345678");
    if (name == "RST_STREAM") return FrameOf(FrameType::kRstStream, 0, stream + 2, Big32(8));
    if (name == "PRIORITY") return FrameOf(FrameType::kPriority, 0, stream, std::string(5, '\0'));
    if (name == "WINDOW_UPDATE") return FrameOf(FrameType::kWindowUpdate, 0, 0, Big32(1));
    if (name == "SETTINGS") return FrameOf(FrameType::kSettings, 0, 0);
    if (name == "unknown frames") return FrameOf(FrameType::kUnknown, 0, 0, "x");
    return FrameOf(FrameType::kUnknown, 0, 0, std::string(16 << 10, 'x'));
  }
  void Run(RawHttp2Stream& stream) const {
    if (name.starts_with("empty DATA")) stream.SendHeaders(OkHeaders());
    if (name.ends_with("has ended")) stream.SendTrailers();
    stream.Flood(Repeated(frame(stream.id())));
  }
};
inline const std::vector<Flood> kFloods = {{"empty DATA"},     {"empty DATA of a stream that has ended"},
                                           {"PING"},           {"PING that answers none"},
                                           {"RST_STREAM"},     {"PRIORITY"},
                                           {"WINDOW_UPDATE"},  {"SETTINGS"},
                                           {"unknown frames"}, {"large unknown frames"}};

inline std::chrono::milliseconds Since(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - from);
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_FLOODS_H_
