// SPDX-License-Identifier: Apache-2.0
//
// Peers for tests that are no gRPC servers at all: a port nobody listens on, a listener that never says a word.
#ifndef INFERWIRE_TESTS_SUPPORT_SOCKETS_H_
#define INFERWIRE_TESTS_SUPPORT_SOCKETS_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

namespace inferwire_test {

/// A socket bound to a free port of loopback. Nobody else gets the port while it lives.
class BoundSocket {
 public:
  BoundSocket() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
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

/// Accepts, waits for the first bytes, and closes: a server that dies as the call comes in.
class HangUpServer : public BoundSocket {
 public:
  HangUpServer() {
    ::listen(fd(), 16);
    thread_ = std::thread([this] {
      while (true) {
        const int peer = ::accept(fd(), nullptr, nullptr);
        if (peer < 0 || stopping_) {
          if (peer >= 0) ::close(peer);
          return;
        }
        char byte;
        if (::recv(peer, &byte, 1, 0) >= 0) ++hung_up_;
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

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_SOCKETS_H_
