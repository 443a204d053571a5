// SPDX-License-Identifier: Apache-2.0
//
// What the bytes of a server that is written by hand go through: nothing, or TLS.
#ifndef INFERWIRE_TESTS_SUPPORT_TLS_LINE_H_
#define INFERWIRE_TESTS_SUPPORT_TLS_LINE_H_

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "support/catch.h"

namespace inferwire_test {

/// A server's side of TLS 1.2 or 1.3 that speaks HTTP/2, with a certificate and its key as files.
class TlsTerms {
 public:
  TlsTerms(const std::string& certificate, const std::string& key) : context_(SSL_CTX_new(TLS_server_method())) {
    std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes as files are written
    REQUIRE(SSL_CTX_use_certificate_file(context_.get(), certificate.c_str(), SSL_FILETYPE_PEM) == 1);
    REQUIRE(SSL_CTX_use_PrivateKey_file(context_.get(), key.c_str(), SSL_FILETYPE_PEM) == 1);
    SSL_CTX_set_mode(context_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(
        context_.get(),
        [](SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char*, unsigned int, void*) {
          *chosen = reinterpret_cast<const unsigned char*>("h2");
          *size = 2;
          return SSL_TLSEXT_ERR_OK;
        },
        nullptr);
  }
  SSL_CTX* context() const { return context_.get(); }

 private:
  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  std::unique_ptr<SSL_CTX, Free> context_;
};

/// Both functions as those of sockets: what is read is waited for, what is written is not (EAGAIN).
class Line {
 public:
  explicit Line(int fd) : fd_(fd) {}
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  virtual ~Line() = default;
  virtual ssize_t Receive(char* at, std::size_t size) { return ::recv(fd_, at, size, 0); }
  virtual ssize_t Send(std::string_view bytes) {
    return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

 protected:
  const int fd_;
};

class TlsLine final : public Line {
 public:
  TlsLine(int fd, const TlsTerms& terms) : Line(fd), ssl_(SSL_new(terms.context())) {
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    SSL_set_fd(ssl_.get(), fd);
    SSL_set_accept_state(ssl_.get());
  }
  ssize_t Receive(char* at, std::size_t size) override {
    while (true) {
      const int got = Step([&] { return SSL_read(ssl_.get(), at, static_cast<int>(size)); });
      if (got >= 0) return got;
      pollfd more{fd_, POLLIN, 0};
      ::poll(&more, 1, 20);
    }
  }
  ssize_t Send(std::string_view bytes) override {
    const int wrote =
        Step([&] { return SSL_write(ssl_.get(), bytes.data(), static_cast<int>((std::min)(bytes.size(), kMost))); });
    if (wrote < 0) errno = EAGAIN;
    return wrote;
  }

 private:
  static constexpr std::size_t kMost = 1 << 20;

  // Above 0: so many bytes. 0: it is over. Less: not yet.
  template <class Operation>
  int Step(Operation operation) {
    std::lock_guard lock(mutex_);  // one thread reads and others write
    ERR_clear_error();
    const int done = operation();
    if (done > 0) return done;
    const int why = SSL_get_error(ssl_.get(), done);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : 0;
  }

  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  std::mutex mutex_;
  std::unique_ptr<SSL, Free> ssl_;
};

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_TLS_LINE_H_
