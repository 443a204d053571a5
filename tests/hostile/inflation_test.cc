// SPDX-License-Identifier: Apache-2.0
//
// Answers that are small on the way and large in memory.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "support/inference.h"
#include "support/memory.h"
#include "support/raw_http2.h"

using inferwire::Client;
using inferwire::ClientOptions;
using inferwire::Compression;
using inferwire_test::Inference;
using inferwire_test::PeakGrowth;
using inferwire_test::RawHttp2Server;
using inferwire_test::RawHttp2Stream;
using inferwire_test::Text;

namespace {
// A Response whose text is `size` zeros, squeezed (RFC 1950 and 1951) to a hundredth by the code of fixed lengths.
std::string Squeezed(std::size_t size) {
  std::string head = inferwire_test::Answer("a").substr(0, 1);  // the field's tag
  for (std::size_t left = size; left > 0; left >>= 7) head += static_cast<char>((left & 127) | (left >= 128 ? 128 : 0));
  std::string out("\x78\x01", 2);
  std::uint64_t pending = 0;
  int bits = 0;
  const auto put = [&](std::uint32_t value, int count) {
    pending |= std::uint64_t{value} << bits;
    for (bits += count; bits >= 8; bits -= 8, pending >>= 8) out += static_cast<char>(pending & 255);
  };
  const auto code = [&](std::uint32_t value, int count) {  // of Huffman's, which begin with their highest bit
    for (int i = count - 1; i >= 0; --i) put((value >> i) & 1, 1);
  };
  const auto literal = [&](std::uint8_t byte) { byte < 144 ? code(0x30U + byte, 8) : code(0x190U + byte - 144U, 9); };
  std::uint32_t a = 1, b = 0;
  put(1, 1);  // the last block
  put(1, 2);  // of the fixed code
  for (const char c : head) {
    literal(static_cast<std::uint8_t>(c));
    a += static_cast<std::uint8_t>(c);
    b += a;
  }
  literal(0);
  std::size_t left = size - 1;
  for (; left >= 258; left -= 258) {
    code(0xc5, 8);  // 258 times
    code(0, 5);     // the byte before
  }
  for (; left > 0; --left) literal(0);
  code(0, 7);  // the end
  put(0, 7);
  a %= 65521;
  b = static_cast<std::uint32_t>((b + std::uint64_t{a} * size) % 65521);
  return out + inferwire_test::Big32(b << 16 | a);
}

std::string OkDeflate() {
  auto headers = inferwire_test::OkHeaders();
  headers.emplace_back("grpc-encoding", "deflate");
  return inferwire_test::HeaderBlock(headers);
}
constexpr std::size_t kMiB = std::size_t{1} << 20;
}  // namespace

TEST_CASE("an answer that is compressed though nobody asked is an error, and not inflated", "[hostile][inflation]") {
  const std::string bomb = Squeezed(256 * kMiB);
  const bool declared = GENERATE(true, false);
  RawHttp2Server server([&](RawHttp2Stream& stream) {
    declared ? stream.Send(inferwire_test::FrameType::kHeaders, inferwire_test::kEndHeaders, OkDeflate())
             : stream.SendHeaders(inferwire_test::OkHeaders());
    for (int i = stream.Asks("Run") ? 3 : 0; i < 4; ++i) stream.SendMessage(bomb, /*compressed=*/true);
    stream.SendTrailers();
  });
  ClientOptions options;
  options.retry.max_attempts = 1;
  const Client client = inferwire_test::Connect("127.0.0.1:" + std::to_string(server.port()), options);
  const PeakGrowth memory;
  absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  INFO(status.ToString());
  CHECK(status.code() == (declared ? absl::StatusCode::kUnimplemented : absl::StatusCode::kInternal));
  CHECK(status.ToString().find(declared ? "The server compresses its answers, unasked" : "") != std::string::npos);
  status = client.Async<&Inference::RunInference>(Text("x")).Get().status();
  CHECK_FALSE(status.ok());
  auto stream = client.Stream<&Inference::StreamInference>(Text("x"));
  CHECK_FALSE(stream.Read().has_value());
  CHECK_FALSE(stream.status().ok());
  auto session = client.Open<&Inference::Converse>();
  CHECK_FALSE(session.Read().has_value());
  CHECK_FALSE(session.Finish().ok());
  CHECK(memory.bytes() < 64 * kMiB);
}

TEST_CASE("who asks for compression takes compressed answers, per client and per call", "[hostile][inflation]") {
  RawHttp2Server server([&](RawHttp2Stream& stream) {
    if (!stream.Asks("gzip")) return (void)stream.Answer(inferwire_test::Answer("plain"));
    stream.Send(inferwire_test::FrameType::kHeaders, inferwire_test::kEndHeaders, OkDeflate());
    stream.SendMessage(Squeezed(100'000), /*compressed=*/true);
    stream.SendTrailers();
  });
  const std::string target = "127.0.0.1:" + std::to_string(server.port());
  const Client plain = inferwire_test::Connect(target);
  const Client asks = inferwire_test::Connect(target, {.compression = Compression::kGzip});
  const auto size = [](const Client& client, inferwire::CallOptions options) {
    const auto answer = client.Call<&Inference::RunInference>(Text("x"), std::move(options));
    INFO(answer.status().ToString());
    CHECK(answer.ok());
    return answer.ok() ? answer->text().size() : 0;
  };
  CHECK(size(plain, {}) == 5);
  CHECK(size(asks, {}) == 100'000);
  CHECK(size(plain, {.compression = Compression::kDeflate}) == 100'000);
  CHECK(size(asks, {.compression = Compression::kNone}) == 5);
}
