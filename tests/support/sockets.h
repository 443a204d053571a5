// SPDX-License-Identifier: Apache-2.0
//
// Peers for tests that are no gRPC servers at all: a port nobody listens on, a listener that never says a word.
#ifndef INFERWIRE_TESTS_SUPPORT_SOCKETS_H_
#define INFERWIRE_TESTS_SUPPORT_SOCKETS_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace inferwire_test {

/// A socket bound to a free port of loopback. Nobody else gets the port while it lives.
class BoundSocket {
 public:
  explicit BoundSocket(int type = SOCK_STREAM) : fd_(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    socklen_t size = sizeof(address);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
  }
  BoundSocket(const BoundSocket&) = delete;
  BoundSocket& operator=(const BoundSocket&) = delete;
  ~BoundSocket() { ::close(fd_); }

  int fd() const { return fd_; }
  int port() const { return port_; }
  std::string target() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  int fd_;
  int port_ = 0;
};

/// Connections are refused: bound, not listening.
using DeadPort = BoundSocket;

/// Connections are made by the kernel and never answered.
class SilentServer : public BoundSocket {
 public:
  SilentServer() { ::listen(fd(), 16); }
};

/// Accepts, waits for the first bytes, and closes: a server that dies as the call comes in. Or says `last_words` first:
/// one that speaks another protocol.
class HangUpServer : public BoundSocket {
 public:
  explicit HangUpServer(const std::string& last_words = {}) {
    ::listen(fd(), 16);
    thread_ = std::thread([this, last_words] {
      while (true) {
        const int peer = ::accept(fd(), nullptr, nullptr);
        if (peer < 0 || stopping_) {
          if (peer >= 0) ::close(peer);
          return;
        }
        char byte;
        if (::recv(peer, &byte, 1, 0) >= 0) ++hung_up_;
        if (!last_words.empty()) {
          static_cast<void>(::send(peer, last_words.data(), last_words.size(), MSG_NOSIGNAL));
          ::shutdown(peer, SHUT_WR);
          std::array<char, 256> rest;  // else what is unread would take the words back
          while (::recv(peer, rest.data(), rest.size(), 0) > 0) {
          }
        }
        ::close(peer);
      }
    });
  }
  ~HangUpServer() {
    stopping_ = true;
    ::shutdown(fd(), SHUT_RDWR);
    thread_.join();
  }
  int hung_up() const { return hung_up_; }

 private:
  std::thread thread_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> hung_up_{0};
};

/// An HTTP proxy that knows CONNECT: passes what comes to the port of loopback that was asked for, whatever the host,
/// and what that answers back.
class ConnectProxy : public BoundSocket {
 public:
  ConnectProxy() {
    ::listen(fd(), 16);
    acceptor_ = std::thread([this] {
      while (true) {
        const int peer = ::accept(fd(), nullptr, nullptr);
        if (peer < 0) return;
        ++connections_;
        tunnels_.emplace_back([this, peer] { Serve(peer); });
      }
    });
  }
  ~ConnectProxy() {
    stopping_ = true;
    ::shutdown(fd(), SHUT_RDWR);
    acceptor_.join();
    for (std::thread& tunnel : tunnels_) tunnel.join();
  }
  /// How many tunnels were made.
  int tunnels() const { return made_; }
  /// How many connections came to it, whatever became of them.
  int connections() const { return connections_; }

 private:
  void Serve(int peer) {
    std::string head;
    char byte = 0;
    while (head.find("\r\n\r\n") == std::string::npos && ::recv(peer, &byte, 1, 0) == 1) head += byte;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::size_t colon = head.find(':');
    const std::uint16_t port =
        colon == std::string::npos ? std::uint16_t{0} : static_cast<std::uint16_t>(std::atoi(head.c_str() + colon + 1));
    address.sin_port = htons(port);
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (head.starts_with("CONNECT ") &&
        ::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
      ++made_;
      const std::string welcome = "HTTP/1.1 200 Connection established\r\n\r\n";
      ::send(peer, welcome.data(), welcome.size(), MSG_NOSIGNAL);
      while (!stopping_ && Pass(peer, server)) {
      }
    }
    ::close(server);
    ::close(peer);
  }
  // What either has to say, within a tenth of a second; false once one is gone.
  static bool Pass(int one, int other) {
    std::array<pollfd, 2> both{pollfd{one, POLLIN, 0}, pollfd{other, POLLIN, 0}};
    ::poll(both.data(), both.size(), 100);
    for (std::size_t i = 0; i < 2; ++i) {
      if (both[i].revents == 0) continue;
      std::array<char, 4096> bytes;
      const ssize_t got = ::recv(both[i].fd, bytes.data(), bytes.size(), 0);
      if (got <= 0) return false;
      ::send(both[1 - i].fd, bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
    }
    return true;
  }

  std::thread acceptor_;
  std::vector<std::thread> tunnels_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> made_{0}, connections_{0};
};

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_SOCKETS_H_
