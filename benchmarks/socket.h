// SPDX-License-Identifier: Apache-2.0
//
// Bytes over loopback without gRPC: what the machine itself can do.
#ifndef INFERWIRE_BENCHMARKS_SOCKET_H_
#define INFERWIRE_BENCHMARKS_SOCKET_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

/// So many bytes follow, and so many are wanted. Where both are as many, those that came.
struct TcpRequest {
  std::uint64_t sent = 0;
  std::uint64_t answered = 0;
};

/// A connected socket of the benchmarks, which end where it fails.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {
    const int on = 1;
    if (fd_ < 0 || setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) Fail("connect");
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&&) = delete;
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }

  static Socket Connect(const std::string& target) {
    Socket out(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(target.substr(target.rfind(':') + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(out.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) Fail("connect");
    return out;
  }

  void Write(std::span<const std::byte> bytes) {
    if (!TryWrite(bytes)) Fail("write");
  }
  /// False where the peer has closed.
  bool TryWrite(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
    return true;
  }
  void Read(std::span<std::byte> to) {
    if (!TryRead(to)) Fail("read");
  }
  /// False where the peer has closed.
  bool TryRead(std::span<std::byte> to) {
    while (!to.empty()) {
      const std::size_t count = ReadSome(to);
      if (count == 0) return false;
      to = to.subspan(count);
    }
    return true;
  }
  /// How many bytes came; none where the peer has closed.
  std::size_t ReadSome(std::span<std::byte> to) {
    return static_cast<std::size_t>((std::max)(recv(fd_, to.data(), to.size(), 0), ssize_t{0}));
  }
  /// Nothing more comes or goes, and whoever waits for it hears that.
  void Shutdown() { shutdown(fd_, SHUT_RDWR); }

 private:
  [[noreturn]] static void Fail(const char* what) {
    std::cerr << "the benchmarks' socket: " << what << " failed\n";
    std::exit(1);
  }
  int fd_;
};

/// Listens on a free port of loopback for as long as the process lives; each peer is served on a thread of its own.
class Listener {
 public:
  explicit Listener(std::function<void(Socket)> serve) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::cerr << "the benchmarks' socket: cannot listen on 127.0.0.1\n";
      std::exit(1);
    }
    port_ = ntohs(address.sin_port);
    std::thread([fd, serve = std::move(serve)] {
      for (int peer = 0; (peer = accept(fd, nullptr, nullptr)) >= 0;) std::thread(serve, Socket(peer)).detach();
    }).detach();
  }
  int port() const { return port_; }

 private:
  int port_ = 0;
};

/// Answers TcpRequests.
inline void ServeTcp(Socket peer) {
  std::vector<float> floats;  // all alike, as the other models' are
  for (TcpRequest request; peer.TryRead(std::as_writable_bytes(std::span(&request, 1)));) {
    floats.resize(static_cast<std::size_t>(std::max(request.sent, request.answered) / sizeof(float) + 1), 0.5f);
    const std::span<std::byte> bytes = std::as_writable_bytes(std::span(floats));
    if (!peer.TryRead(bytes.first(request.sent))) return;
    peer.Write(bytes.first(request.answered));
  }
}

}  // namespace bench

#endif  // INFERWIRE_BENCHMARKS_SOCKET_H_
