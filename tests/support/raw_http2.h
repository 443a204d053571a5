// SPDX-License-Identifier: Apache-2.0
//
// An HTTP/2 server whose frames a test writes by hand: right ones, wrong ones, and endless ones.
#ifndef INFERWIRE_TESTS_SUPPORT_RAW_HTTP2_H_
#define INFERWIRE_TESTS_SUPPORT_RAW_HTTP2_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "support/sockets.h"
#include "support/tls_line.h"

namespace inferwire_test {

// ---- frames (RFC 9113) as bytes

enum class FrameType : std::uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
  kUnknown = 0xbe,
};
inline constexpr std::uint8_t kEndStream = 1, kAck = 1, kEndHeaders = 4, kPadded = 8;

/// A number of four bytes, as frames hold it.
inline std::string Big32(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}
inline std::string FrameOf(FrameType type, std::uint8_t flags, std::uint32_t stream, std::string_view payload = {}) {
  std::string out = Big32(static_cast<std::uint32_t>(payload.size())).substr(1);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  return out.append(Big32(stream)).append(payload);
}
/// The same frame, over and over: what one write of a flood holds.
inline std::string Repeated(const std::string& frame, std::size_t bytes = 64 << 10) {
  std::string out;
  while (out.size() < bytes) out += frame;
  return out;
}

using HeaderList = std::vector<std::pair<std::string, std::string>>;

/// A header block (RFC 7541): literals that are not indexed, nothing squeezed.
inline std::string HeaderBlock(const HeaderList& headers) {
  std::string out;
  const auto text = [&out](const std::string& value) {
    std::size_t left = value.size();
    if (left < 127) {
      out += static_cast<char>(left);
    } else {
      out += static_cast<char>(127);
      for (left -= 127; left >= 128; left >>= 7) out += static_cast<char>(left | 128);
      out += static_cast<char>(left);
    }
    out += value;
  };
  for (const auto& [name, value] : headers) {
    out += '\0';
    text(name);
    text(value);
  }
  return out;
}
inline HeaderList OkHeaders() { return {{":status", "200"}, {"content-type", "application/grpc"}}; }
inline HeaderList StatusTrailers(int code = 0, const std::string& message = {}) {
  HeaderList out{{"grpc-status", std::to_string(code)}};
  if (!message.empty()) out.emplace_back("grpc-message", message);
  return out;
}
/// A gRPC message as it lies in DATA frames.
inline std::string LengthPrefixed(std::string_view message, bool compressed = false) {
  std::string out(1, compressed ? '\1' : '\0');
  return out.append(Big32(static_cast<std::uint32_t>(message.size()))).append(message);
}

// ---- the server

class RawHttp2Connection;

/// One request, as a script sees it. Its functions may be called from the script's thread alone.
class RawHttp2Stream {
 public:
  RawHttp2Stream(RawHttp2Connection& connection, std::uint32_t id, std::string head)
      : connection_(connection), id_(id), head_(std::move(head)) {}

  std::uint32_t id() const { return id_; }
  /// The how manyth connection it came by, from 1.
  int connection() const;
  /// Whether `text` is in its headers: a method's path, say.
  bool Asks(std::string_view text) const { return head_.find(text) != std::string::npos; }

  /// Writes bytes as they are; false once the connection is gone, or the server stops.
  bool Send(std::string_view bytes) const;
  bool Send(FrameType type, std::uint8_t flags, std::string_view payload = {}) const {
    return Send(FrameOf(type, flags, id_, payload));
  }
  bool SendHeaders(const HeaderList& headers, std::uint8_t flags = kEndHeaders) const {
    return Send(FrameType::kHeaders, flags, HeaderBlock(headers));
  }
  bool SendTrailers(const HeaderList& trailers = StatusTrailers()) const {
    return SendHeaders(trailers, kEndHeaders | kEndStream);
  }
  /// In frames of 16 KiB. Beyond 64 KiB the client's window must allow it: gRPC's do, as it reads.
  bool SendMessage(std::string_view message, bool compressed = false) const {
    const std::string bytes = LengthPrefixed(message, compressed);
    for (std::size_t at = 0; at < bytes.size(); at += 16 << 10) {
      if (!Send(FrameType::kData, 0, std::string_view(bytes).substr(at, 16 << 10))) return false;
    }
    return true;
  }
  /// A whole answer: headers, one message, trailers.
  bool Answer(std::string_view message) const {
    return SendHeaders(OkHeaders()) && SendMessage(message) && SendTrailers();
  }
  /// The same bytes until the connection is gone.
  void Flood(const std::string& bytes) const {
    while (Send(bytes)) {
    }
  }
  /// Until the connection is gone, or the server stops.
  void Wait() const;

 private:
  RawHttp2Connection& connection_;
  const std::uint32_t id_;
  const std::string head_;
};

using RawHttp2Script = std::function<void(RawHttp2Stream&)>;

/// Reads what the client sends, answers its SETTINGS and PINGs, and runs a script for each request.
class RawHttp2Connection {
 public:
  /// `greeting` is sent at once: a server's SETTINGS, and what else a test wants first.
  RawHttp2Connection(int fd, std::unique_ptr<Line> line, int number, std::string greeting, const RawHttp2Script& script,
                     bool answers_pings, const std::string& flood)
      : fd_(fd),
        line_(std::move(line)),
        number_(number),
        greeting_(std::move(greeting)),
        script_(script),
        answers_pings_(answers_pings) {
    reader_ = std::thread([this] { Serve(); });
    if (flood.empty()) return;
    flooder_ = std::thread([this, &flood] {
      while (Send(flood)) {
      }
      worked_ += ThreadTime();
    });
  }
  RawHttp2Connection(const RawHttp2Connection&) = delete;
  RawHttp2Connection& operator=(const RawHttp2Connection&) = delete;
  ~RawHttp2Connection() {
    Stop();
    Join();
    ::close(fd_);
  }

  /// After Stop.
  void Join() {
    if (reader_.joinable()) reader_.join();
    if (flooder_.joinable()) flooder_.join();
    scripts_.clear();
  }
  void Stop() {
    stopping_ = true;
    ::shutdown(fd_, SHUT_RDWR);
  }
  int number() const { return number_; }
  bool open() const { return !gone_ && !stopping_; }
  std::uint64_t received() const { return received_; }
  std::uint64_t sent() const { return sent_; }
  int streams() const { return streams_; }
  std::uint64_t worked() const { return worked_; }

  /// Whole frames only, since several threads write.
  bool Send(std::string_view bytes) {
    std::lock_guard lock(writing_);
    while (!bytes.empty()) {
      if (!open()) return false;
      const ssize_t wrote = line_->Send(bytes);
      if (wrote < 0 && (errno == EAGAIN || errno == EINTR)) {
        pollfd room{fd_, POLLOUT, 0};
        ::poll(&room, 1, 20);
        continue;
      }
      if (wrote <= 0) return false;
      sent_ += static_cast<std::uint64_t>(wrote);
      bytes.remove_prefix(static_cast<std::size_t>(wrote));
    }
    return true;
  }

 private:
  // Of this thread, in nanoseconds.
  static std::uint64_t ThreadTime() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
  }

  static constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

  struct Script {
    Script(RawHttp2Connection& connection, std::uint32_t stream, std::string head)
        : thread([this, &connection, stream, head = std::move(head)] {
            RawHttp2Stream request(connection, stream, head);
            connection.script_(request);
            connection.worked_ += ThreadTime();
            done = true;
          }) {}
    ~Script() { thread.join(); }
    std::atomic<bool> done{false};
    std::thread thread;
  };

  void Serve() {
    Send(greeting_);
    std::string in;
    bool greeted = false;
    std::array<char, 64 << 10> chunk;
    while (!stopping_) {
      const ssize_t got = line_->Receive(chunk.data(), chunk.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      received_ += static_cast<std::uint64_t>(got);
      in.append(chunk.data(), static_cast<std::size_t>(got));
      if (!greeted) {
        if (in.size() < kPreface.size()) continue;
        if (!in.starts_with(kPreface)) break;
        in.erase(0, kPreface.size());
        greeted = true;
      }
      std::size_t at = 0;
      while (in.size() - at >= 9) {
        const auto byte = [&](std::size_t i) { return std::uint32_t{static_cast<std::uint8_t>(in[at + i])}; };
        const std::size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
        if (in.size() - at < 9 + size) break;
        const std::uint32_t stream = (byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8)) & 0x7fffffff;
        OnFrame(static_cast<FrameType>(byte(3)), static_cast<std::uint8_t>(byte(4)), stream,
                std::string_view(in).substr(at + 9, size));
        at += 9 + size;
      }
      in.erase(0, at);
    }
    gone_ = true;
    worked_ += ThreadTime();
  }
  void OnFrame(FrameType type, std::uint8_t flags, std::uint32_t stream, std::string_view payload) {
    switch (type) {
      case FrameType::kSettings:
        if ((flags & kAck) == 0) Send(FrameOf(FrameType::kSettings, kAck, 0));
        break;
      case FrameType::kPing:
        if ((flags & kAck) == 0 && answers_pings_) Send(FrameOf(FrameType::kPing, kAck, 0, payload));
        break;
      case FrameType::kData:
        if (payload.empty()) break;
        for (const std::uint32_t window : {std::uint32_t{0}, stream}) {
          Send(FrameOf(FrameType::kWindowUpdate, 0, window, Big32(static_cast<std::uint32_t>(payload.size()))));
        }
        break;
      case FrameType::kHeaders:
      case FrameType::kContinuation:
        head_ += payload;
        if ((flags & kEndHeaders) == 0) break;
        ++streams_;
        std::erase_if(scripts_, [](const auto& script) { return script->done.load(); });
        scripts_.push_back(std::make_unique<Script>(*this, stream, std::exchange(head_, {})));
        break;
      default:
        break;
    }
  }

  const int fd_;
  const std::unique_ptr<Line> line_;
  const int number_;
  const std::string greeting_;
  const RawHttp2Script& script_;
  const bool answers_pings_;
  std::atomic<bool> stopping_{false}, gone_{false};
  std::atomic<std::uint64_t> received_{0}, sent_{0}, worked_{0};
  std::atomic<int> streams_{0};
  std::mutex writing_;
  std::string head_;
  std::vector<std::unique_ptr<Script>> scripts_;
  std::thread reader_, flooder_;
};

inline int RawHttp2Stream::connection() const { return connection_.number(); }
inline bool RawHttp2Stream::Send(std::string_view bytes) const { return connection_.Send(bytes); }
inline void RawHttp2Stream::Wait() const {
  while (connection_.open()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

/// Listens on loopback. `script` runs for each request, on a thread of its own; it must return once Send gives false.
class RawHttp2Server : public BoundSocket {
 public:
  struct Terms {
    /// What a connection hears first. Tables of no size have the client spell out each of its headers.
    std::string greeting = FrameOf(FrameType::kSettings, 0, 0, std::string("\0\1\0\0\0\0", 6));
    bool answers_pings = true;
    /// What is sent without end from then on, if something is.
    std::string flood = {};
    /// Plaintext where there is none.
    std::shared_ptr<const TlsTerms> tls = nullptr;
  };

  explicit RawHttp2Server(RawHttp2Script script) : RawHttp2Server(std::move(script), Terms()) {}
  RawHttp2Server(RawHttp2Script script, Terms terms) : script_(std::move(script)), terms_(std::move(terms)) {
    ::listen(fd(), 128);
    acceptor_ = std::thread([this] {
      while (true) {
        const int peer = ::accept(fd(), nullptr, nullptr);
        if (peer < 0) return;
        const int at_once = 1;
        ::setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once));
        std::lock_guard lock(mutex_);
        const int number = static_cast<int>(connections_.size()) + 1;
        std::unique_ptr<Line> line;
        if (terms_.tls != nullptr) {
          line = std::make_unique<TlsLine>(peer, *terms_.tls);
        } else {
          line = std::make_unique<Line>(peer);
        }
        connections_.push_back(std::make_unique<RawHttp2Connection>(peer, std::move(line), number, terms_.greeting,
                                                                    script_, terms_.answers_pings, terms_.flood));
      }
    });
  }
  ~RawHttp2Server() { Stop(); }

  /// Closes all connections and the port; nothing of it runs any more.
  void Stop() {
    if (!acceptor_.joinable()) return;
    ::shutdown(fd(), SHUT_RDWR);
    acceptor_.join();
    for (const auto& connection : connections_) connection->Stop();
    for (const auto& connection : connections_) connection->Join();
  }

  /// How many connections were ever accepted, and how many of them are open still.
  int accepted() const {
    std::lock_guard lock(mutex_);
    return static_cast<int>(connections_.size());
  }
  int open() const {
    return static_cast<int>(Sum([](const RawHttp2Connection& one) { return one.open() ? 1 : 0; }));
  }
  /// Bytes from the clients, and to them; and their requests.
  std::uint64_t received() const {
    return Sum([](const RawHttp2Connection& one) { return one.received(); });
  }
  std::uint64_t sent() const {
    return Sum([](const RawHttp2Connection& one) { return one.sent(); });
  }
  /// After Stop: how long its threads have worked.
  std::chrono::nanoseconds worked() const {
    return std::chrono::nanoseconds(Sum([](const RawHttp2Connection& one) { return one.worked(); }));
  }
  int streams() const {
    return static_cast<int>(Sum([](const RawHttp2Connection& one) { return one.streams(); }));
  }

 private:
  template <class Part>
  std::uint64_t Sum(Part part) const {
    std::lock_guard lock(mutex_);
    std::uint64_t sum = 0;
    for (const auto& connection : connections_) sum += static_cast<std::uint64_t>(part(*connection));
    return sum;
  }

  const RawHttp2Script script_;
  const Terms terms_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<RawHttp2Connection>> connections_;
  std::thread acceptor_;
};

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_RAW_HTTP2_H_
