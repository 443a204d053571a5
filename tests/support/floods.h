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

/// One kind of frame, which is all that comes once a request has arrived, or once its answer has begun or ended.
struct Flood {
  enum class After { kRequest, kHeaders, kTrailers };

  std::string name;
  std::string (*frame)(std::uint32_t stream);
  After after = After::kRequest;

  void Run(RawHttp2Stream& stream) const {
    if (after != After::kRequest) stream.SendHeaders(OkHeaders());
    if (after == After::kTrailers) stream.SendTrailers();
    stream.Flood(Repeated(frame(stream.id())));
  }
};

inline const std::vector<Flood> kFloods = {
    {"empty DATA", [](std::uint32_t id) { return FrameOf(FrameType::kData, 0, id); }, Flood::After::kHeaders},
    {"empty DATA of a stream that has ended", [](std::uint32_t id) { return FrameOf(FrameType::kData, 0, id); },
     Flood::After::kTrailers},
    {"DATA of padding",
     [](std::uint32_t id) { return FrameOf(FrameType::kData, kPadded, id, "\x10" + std::string(16, '\0')); },
     Flood::After::kHeaders},
    {"HEADERS of no stream",
     [](std::uint32_t id) { return FrameOf(FrameType::kHeaders, kEndHeaders, id + 2, HeaderBlock(OkHeaders())); }},
    {"PUSH_PROMISE",
     [](std::uint32_t id) {
       return FrameOf(FrameType::kPushPromise, kEndHeaders, id, Big32(2) + HeaderBlock(OkHeaders()));
     }},
    {"PING", [](std::uint32_t) { return FrameOf(FrameType::kPing, 0, 0, "12345678"); }},
    {"PING that answers none", [](std::uint32_t) { return FrameOf(FrameType::kPing, kAck, 0, "12345678"); }},
    {"RST_STREAM", [](std::uint32_t id) { return FrameOf(FrameType::kRstStream, 0, id + 2, Big32(8)); }},
    {"PRIORITY", [](std::uint32_t id) { return FrameOf(FrameType::kPriority, 0, id, std::string(5, '\0')); }},
    {"WINDOW_UPDATE", [](std::uint32_t) { return FrameOf(FrameType::kWindowUpdate, 0, 0, Big32(1)); }},
    {"SETTINGS", [](std::uint32_t) { return FrameOf(FrameType::kSettings, 0, 0); }},
    {"SETTINGS that answer none", [](std::uint32_t) { return FrameOf(FrameType::kSettings, kAck, 0); }},
    {"GOAWAY", [](std::uint32_t id) { return FrameOf(FrameType::kGoAway, 0, 0, Big32(id) + Big32(0)); }},
    {"unknown frames", [](std::uint32_t) { return FrameOf(FrameType::kUnknown, 0, 0, "x"); }},
    {"large unknown frames",
     [](std::uint32_t) { return FrameOf(FrameType::kUnknown, 0, 0, std::string(16 << 10, 'x')); }},
};

inline std::chrono::milliseconds Since(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - from);
}

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_FLOODS_H_
