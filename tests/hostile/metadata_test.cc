// SPDX-License-Identifier: Apache-2.0
//
// Header blocks without an end.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "support/inference.h"
#include "support/memory.h"
#include "support/raw_http2.h"

using inferwire::Client;
using inferwire::ClientOptions;
using inferwire_test::FrameOf;
using inferwire_test::FrameType;
using inferwire_test::Inference;
using inferwire_test::PeakGrowth;
using inferwire_test::RawHttp2Server;
using inferwire_test::RawHttp2Stream;
using inferwire_test::Text;

namespace {
constexpr std::size_t kMiB = std::size_t{1} << 20;

std::string Continuation(std::uint32_t stream, std::size_t size) {
  return FrameOf(FrameType::kContinuation, 0, stream,
                 inferwire_test::HeaderBlock({{"x-endless", std::string(size, 'a')}}));
}
}  // namespace

TEST_CASE("headers without an end are cut off, of whatever size their frames are", "[hostile][metadata]") {
  const std::size_t size = GENERATE(std::size_t{4} << 10, std::size_t{16} << 10);
  RawHttp2Server server([&](RawHttp2Stream& stream) {
    stream.SendHeaders(inferwire_test::OkHeaders(), /*flags=*/0);
    stream.Flood(inferwire_test::Repeated(Continuation(stream.id(), size - 64)));
  });
  ClientOptions options;
  options.timeout = absl::Seconds(20);
  options.retry.max_attempts = 1;
  const Client client = inferwire_test::Connect("127.0.0.1:" + std::to_string(server.port()), options);
  const PeakGrowth memory;
  const auto begun = std::chrono::steady_clock::now();
  const absl::Status status = client.Async<&Inference::RunInference>(Text("x")).Get().status();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  INFO(status.ToString() << " in " << seconds << " s, of " << server.sent() / kMiB << " MiB");
  CHECK_FALSE(status.ok());  // gRPC itself may be the first to end it
  CHECK(seconds < 15);
  CHECK(server.sent() < 256 * kMiB);
  CHECK(memory.bytes() < 512 * kMiB);
}

TEST_CASE("errors with details of many KiB arrive whole", "[hostile][metadata]") {
  const std::string text(std::size_t{200} << 10, 'e');
  RawHttp2Server server([&](RawHttp2Stream& stream) {
    auto headers = inferwire_test::OkHeaders();
    for (const auto& trailer : inferwire_test::StatusTrailers(3, text)) headers.push_back(trailer);
    const std::string block = inferwire_test::HeaderBlock(headers);
    std::size_t at = 16 << 10;
    stream.Send(FrameType::kHeaders, inferwire_test::kEndStream, block.substr(0, at));
    for (; at < block.size(); at += 16 << 10) {
      const bool last = block.size() - at <= 16 << 10;
      stream.Send(FrameType::kContinuation, last ? inferwire_test::kEndHeaders : 0, block.substr(at, 16 << 10));
    }
  });
  const Client client = inferwire_test::Connect("127.0.0.1:" + std::to_string(server.port()));
  const absl::Status status = client.Call<&Inference::RunInference>(Text("x")).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message().size() >= text.size());
}

TEST_CASE("a large answer is none that floods", "[hostile][metadata]") {
  inferwire_test::RawServer server([](inferwire_test::RawCall& call) {
    const auto bytes = call.Read();
    call.Write(inferwire_test::Answer(std::string(400 * kMiB, 'a')));
  });
  const Client client = inferwire_test::Connect(server.target(), {.timeout = absl::Seconds(60)});
  const auto answer = client.Call<&Inference::RunInference>(Text("x"));
  INFO(answer.status().ToString());
  REQUIRE(answer.ok());
  CHECK(answer->text().size() == 400 * kMiB);
}
