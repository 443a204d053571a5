// SPDX-License-Identifier: Apache-2.0
//
// How often keys and tokens lie in the process, and what is left of them. The keys are those of the directory
// INFERWIRE_CERTIFICATES.
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <absl/strings/escaping.h>

#include "inferwire/detail/base/secret.h"
#include "inferwire/detail/base/sha256.h"
#include "support/certificates.h"
#include "support/inference.h"
#include "support/sockets.h"

using inferwire::AccessToken;
using inferwire::BearerToken;
using inferwire::Client;
using inferwire::ClientOptions;
using namespace inferwire_test;  // NOLINT

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kWatched = true;  // what is freed is kept for long then
#elif defined(__has_feature)
constexpr bool kWatched = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kWatched = false;
#endif

// A text that is looked for, in a form that is not found itself.
class Needle {
 public:
  // So many bytes in the middle of a file.
  static Needle OfFile(const std::string& path, std::size_t size = 48) {
    std::array<char, 8192> bytes{};
    const int file = ::open(path.c_str(), O_RDONLY);
    const ssize_t got = ::read(file, bytes.data(), bytes.size());
    ::close(file);
    REQUIRE(got > static_cast<ssize_t>(4 * size));
    Needle out(std::string_view(bytes.data() + got / 2, size));
    volatile char* const wiped = bytes.data();
    for (std::size_t i = 0; i < bytes.size(); ++i) wiped[i] = 0;
    return out;
  }
  explicit Needle(std::string_view text) {
    for (const char c : text) hidden_ += Hide(c);
  }
  std::string Text() const {
    std::string out;
    for (const char c : hidden_) out += Hide(c);
    return out;
  }

  // How often it lies in memory that can be written.
  int Count() const {
    static std::array<char, (1 << 20) + 4096>& buffer = *new std::array<char, (1 << 20) + 4096>;
    const int memory = ::open("/proc/self/mem", O_RDONLY);
    std::ifstream maps("/proc/self/maps");
    int count = 0;
    for (std::string line; std::getline(maps, line);) {
      std::size_t dash = 0;
      const std::uintptr_t begin = std::stoull(line, &dash, 16);
      const std::uintptr_t end = std::stoull(line.substr(dash + 1), nullptr, 16);
      if (line.find(" rw") == std::string::npos || end - begin > std::size_t{1} << 30) continue;
      const auto mine = reinterpret_cast<std::uintptr_t>(buffer.data());
      const auto scan = [&](std::uintptr_t from, std::uintptr_t to) {
        for (std::uintptr_t at = from; at < to; at += 1 << 20) {
          const std::size_t wanted = (std::min)(buffer.size(), static_cast<std::size_t>(to - at));
          const ssize_t got = ::pread(memory, buffer.data(), wanted, static_cast<off_t>(at));
          if (got > 0) count += In(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
        }
      };
      if (mine >= begin && mine < end) {
        scan(begin, mine);
        scan((std::min)(mine + buffer.size(), end), end);
      } else {
        scan(begin, end);
      }
    }
    ::close(memory);
    volatile char* const wiped = buffer.data();
    for (std::size_t i = 0; i < buffer.size(); ++i) wiped[i] = 0;
    return count;
  }

 private:
  static char Hide(char c) { return static_cast<char>(c ^ 0x5a); }
  // Those that begin in the first MiB: the rest is seen again.
  int In(std::string_view bytes) const {
    int count = 0;
    const char first = Hide(hidden_[0]);
    for (std::size_t at = bytes.find(first); at < 1 << 20; at = bytes.find(first, at + 1)) {
      if (bytes.size() - at < hidden_.size()) break;
      bool same = true;
      for (std::size_t i = 0; same && i < hidden_.size(); ++i) same = bytes[at + i] == Hide(hidden_[i]);
      count += same ? 1 : 0;
    }
    return count;
  }

  std::string hidden_;
};

ClientOptions Mutual(const std::string& target, absl::Duration reload) {
  ClientOptions options;
  options.targets = {target};
  options.credentials = inferwire::Tls({.root_certificates_file = Certificate("ca.pem"),
                                        .certificate_chain_file = Certificate("client.pem"),
                                        .private_key_file = Certificate("client.key"),
                                        .reload_interval = reload});
  return options;
}

}  // namespace

TEST_CASE("a secret is wiped when it ends, and where it moves", "[hostile][secrets]") {
  std::string text(100, 'x');
  inferwire::detail::Wipe(text);
  CHECK(text.empty());
  CHECK(std::string_view(text.data(), 100).find('x') == std::string_view::npos);
  std::string brief = "0123456789";
  const inferwire::detail::Secret moved(std::move(brief));
  CHECK(moved.text() == "0123456789");
  CHECK(std::string_view(brief.data(), 10).find('1') == std::string_view::npos);  // NOLINT: after the move
  inferwire::detail::Secret set;
  set.Set(std::string(100, 'x'));
  set.Set("0123456789");
  CHECK(set.text() == "0123456789");
}

TEST_CASE("what tells secrets apart is SHA-256", "[hostile][secrets]") {
  const auto digest = [](const std::string& text) {
    inferwire::detail::Sha256 sha;
    sha.Add(text.substr(0, text.size() / 3));
    sha.Add(text.substr(text.size() / 3));
    return std::string(absl::BytesToHexString(sha.Finish()));
  };
  CHECK(digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(digest(std::string(55, 'x')) == "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
  CHECK(digest(std::string(64, 'x')) == "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
  CHECK(digest(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("a private key lies in the process no more often than gRPC needs it", "[hostile][secrets]") {
  if (kWatched) return;  // memory that is freed is kept
  const absl::Duration reload = GENERATE(absl::Minutes(1), absl::InfiniteDuration());
  const Needle key = Needle::OfFile(Certificate("client.key"));
  const int before = key.Count();
  const auto server =
      TlsServer(ContentsOf(Certificate("server.pem")), ContentsOf(Certificate("server.key")), Echo, /*ask=*/true);
  std::vector<int> alive;
  {
    std::vector<Client> clients;
    for (int i = 0; i < 4; ++i) {
      clients.push_back(*Client::Create(Mutual(server->target(), reload)));
      const auto reply = clients.back().Call<&Inference::RunInference>(Text("x"));
      INFO(reply.status());
      REQUIRE(reply.ok());
      alive.push_back(key.Count() - before);
    }
  }
  const int left = key.Count() - before;
  CAPTURE(reload, alive, left);
  CHECK(alive[0] <= 6);
  CHECK(alive[3] <= alive[0]);  // clients that are alike share what is theirs
  CHECK(left <= 6);             // of which none is ours: gRPC does not wipe what it frees
}

TEST_CASE("a token is held once, and gone with its client", "[hostile][secrets]") {
  if (kWatched) return;  // memory that is freed is kept
  const bool fetched = GENERATE(false, true);
  const Needle token("a-token-for-nobody-but-this-test-0123456789-abcdefghijklmnopqrstuvwxyz");
  const int before = token.Count();  // another case's
  const SilentServer server;         // in another process, as it were: it reads nothing
  std::vector<int> alive;
  {
    const BearerToken bearer = fetched ? BearerToken([&]() -> absl::StatusOr<AccessToken> {
      return AccessToken{token.Text(), absl::InfiniteFuture()};
    })
                                       : BearerToken(token.Text());
    const Client client =
        Connect(server.target(), {.timeout = absl::Milliseconds(100), .token = bearer.EvenOverPlaintext()});
    for (int i = 0; i < 8; ++i) {
      CHECK_FALSE(client.Call<&Inference::RunInference>(Text("x")).ok());
      alive.push_back(token.Count() - before);
    }
  }
  const int left = token.Count() - before;
  CAPTURE(fetched, alive, left);
  CHECK(alive[7] <= 4);
  CHECK(left <= 3);
}
