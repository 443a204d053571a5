// SPDX-License-Identifier: Apache-2.0
//
// A TCP relay on loopback that can do to a server's connections what a server cannot be asked to do to its own: reset
// one, stop reading, put an HTTP/2 GOAWAY between two frames. Needs POSIX sockets; knows nothing of gRPC.
#ifndef INFERWIRE_DETAIL_TESTING_RELAY_H_
#define INFERWIRE_DETAIL_TESTING_RELAY_H_

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace inferwire {
inline namespace v0 {
namespace testing {

/// Owns a socket. Closing it ends the connection in order; Reset ends it with a TCP reset.
class Socket {
 public:
  explicit Socket(int fd = -1) : fd_(fd) {
    if (fd_ < 0) return;
    ::fcntl(fd_, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd_, F_SETFL, O_NONBLOCK);
    Set(IPPROTO_TCP, TCP_NODELAY, 1);
#ifdef SO_NOSIGPIPE
    Set(SOL_SOCKET, SO_NOSIGPIPE, 1);
#endif
  }
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() { Close(); }

  /// A socket bound to `port` of loopback, 0 meaning a free one. Ends the process where that is not to be had.
  static Socket Bound(int port) {
    Socket socket(::socket(AF_INET, SOCK_STREAM, 0));
    socket.Set(SOL_SOCKET, SO_REUSEADDR, 1);  // the port's former connections may linger
    const sockaddr_in address = Loopback(port);
    if (::bind(socket.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      std::fprintf(stderr, "inferwire: cannot bind 127.0.0.1:%d: %s\n", port, std::strerror(errno));
      std::abort();
    }
    return socket;
  }
  /// A connection to `port` of loopback. Not open where it was refused.
  static Socket Connected(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = Loopback(port);
    const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    Socket socket(fd);
    if (!connected) socket.Close();
    return socket;
  }

  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  /// Of this side of the connection.
  int port() const {
    sockaddr_in address{};
    socklen_t size = sizeof(address);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
  }
  void set_receive_buffer(int bytes) { Set(SOL_SOCKET, SO_RCVBUF, bytes); }
  void Close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void Reset() {
    const linger at_once{1, 0};
    if (fd_ >= 0) ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    Close();
  }

 private:
  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    return address;
  }
  void Set(int level, int option, int value) { ::setsockopt(fd_, level, option, &value, sizeof(value)); }

  int fd_;
};

/// The head of an HTTP/2 frame (RFC 9113, section 4.1), and the few frames the relay writes itself.
struct FrameHead {
  static constexpr std::size_t kSize = 9;
  enum Type : std::uint8_t {
    kData = 0,
    kHeaders = 1,
    kRstStream = 3,
    kPushPromise = 5,
    kGoAway = 7,
    kContinuation = 9
  };
  static constexpr std::uint8_t kEndStream = 1;
  static constexpr std::uint8_t kEndHeaders = 4;

  std::uint32_t length;
  std::uint8_t type;
  std::uint8_t flags;
  std::uint32_t stream;

  static FrameHead Parse(const std::array<unsigned char, kSize>& bytes) {
    const auto at = [&](std::size_t i) { return static_cast<std::uint32_t>(bytes[i]); };
    return {at(0) << 16 | at(1) << 8 | at(2), bytes[3], bytes[4],
            (at(5) & 0x7f) << 24 | at(6) << 16 | at(7) << 8 | at(8)};
  }
  static std::string GoAway(std::uint32_t last_stream) {
    return Frame(kGoAway, 0, Number(last_stream) + Number(0));  // NO_ERROR
  }
  /// REFUSED_STREAM: the server did nothing for it.
  static std::string Refuse(std::uint32_t stream) { return Frame(kRstStream, stream, Number(7)); }

 private:
  static std::string Number(std::uint32_t number) {
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift & 0xff);
    return out;
  }
  static std::string Frame(Type type, std::uint32_t stream, const std::string& body) {
    const std::string length = Number(static_cast<std::uint32_t>(body.size()));
    return length.substr(1) + static_cast<char>(type) + '\0' + Number(stream) + body;
  }
};

/// The bytes of one direction of a connection, on their way from one socket to the other.
class Direction {
 public:
  /// `preface`: how many bytes come before the first frame. `on_frame` is told of each frame as its head passes.
  Direction(std::size_t preface, std::function<void(const FrameHead&)> on_frame)
      : to_pass_(preface), on_frame_(std::move(on_frame)) {}

  bool hungry() const { return !ended_ && waiting() < kMost && passed_ < most_to_pass_; }
  bool pending() const { return waiting() > 0; }
  bool finished() const { return broken_ || (ended_ && !pending()); }
  /// Whether a connection broke, rather than ended in order.
  bool broken() const { return broken_; }
  std::string_view beginning() const { return beginning_; }
  /// Takes no more once it has had `bytes` in all, or the few that come with them.
  void set_most_to_pass(std::uint64_t bytes) { most_to_pass_ = bytes; }
  bool sated() const { return passed_ >= most_to_pass_; }

  /// Takes what `from` has, as far as there is room.
  void Fill(int from) {
    std::array<char, 65536> piece;
    while (hungry()) {
      const ssize_t got = ::recv(from, piece.data(), piece.size(), 0);
      if (got > 0) {
        passed_ += static_cast<std::uint64_t>(got);
        Append({piece.data(), static_cast<std::size_t>(got)});
      } else if (got == 0) {
        ended_ = true;
      } else if (errno != EINTR) {
        if (errno != EAGAIN && errno != EWOULDBLOCK) ended_ = broken_ = true;
        return;
      }
    }
  }
  /// Gives to `to` what it takes.
  void Flush(int to) {
#ifdef MSG_NOSIGNAL
    constexpr int kFlags = MSG_NOSIGNAL;
#else
    constexpr int kFlags = 0;
#endif
    while (pending()) {
      const ssize_t gone = ::send(to, bytes_.data() + gone_, waiting(), kFlags);
      if (gone > 0) {
        gone_ += static_cast<std::size_t>(gone);
      } else if (errno != EINTR) {
        if (errno != EAGAIN && errno != EWOULDBLOCK) ended_ = broken_ = true;
        break;
      }
    }
    bytes_.erase(0, std::exchange(gone_, 0));
  }
  /// Puts whole frames after the frame that is passing now.
  void Inject(const std::string& frames) {
    injected_ += frames;
    InjectAtBoundary();
  }

 private:
  static constexpr std::size_t kMost = 1 << 18;

  std::size_t waiting() const { return bytes_.size() - gone_; }

  void Append(std::string_view bytes) {
    if (beginning_.size() < 3) beginning_ += bytes.substr(0, 3 - beginning_.size());
    while (!bytes.empty()) {
      if (to_pass_ > 0) {
        const std::size_t passing = bytes.size() < to_pass_ ? bytes.size() : to_pass_;
        bytes_ += bytes.substr(0, passing);
        bytes.remove_prefix(passing);
        to_pass_ -= passing;
      } else {
        bytes_ += bytes.front();
        head_[head_size_++] = static_cast<unsigned char>(bytes.front());
        bytes.remove_prefix(1);
        if (head_size_ == FrameHead::kSize) {
          head_size_ = 0;
          Pass(FrameHead::Parse(head_));
        }
      }
      InjectAtBoundary();
    }
  }
  void Pass(const FrameHead& head) {
    to_pass_ = head.length;
    begun_ = true;
    // Nothing may come between a header block's frames (RFC 9113, section 6.10).
    if (head.type == FrameHead::kHeaders || head.type == FrameHead::kPushPromise ||
        head.type == FrameHead::kContinuation) {
      in_headers_ = (head.flags & FrameHead::kEndHeaders) == 0;
    }
    on_frame_(head);
  }
  void InjectAtBoundary() {
    // The first frame has to be the peer's SETTINGS.
    if (!injected_.empty() && begun_ && to_pass_ == 0 && head_size_ == 0 && !in_headers_) {
      bytes_ += std::exchange(injected_, {});
    }
  }

  std::string bytes_;
  std::size_t gone_ = 0;  // of bytes_
  std::uint64_t passed_ = 0;
  std::uint64_t most_to_pass_ = (std::numeric_limits<std::uint64_t>::max)();
  bool ended_ = false;
  bool broken_ = false;

  std::string beginning_;
  std::size_t to_pass_;  // of the preface or the frame that is passing
  std::array<unsigned char, FrameHead::kSize> head_{};
  std::size_t head_size_ = 0;
  bool begun_ = false;
  bool in_headers_ = false;
  std::string injected_;
  const std::function<void(const FrameHead&)> on_frame_;
};

/// Relays connections to 127.0.0.1:port() to 127.0.0.1:`server_port`, on one thread of its own. A connection is named
/// by its port on the server's side of the relay, which is the one the server sees as its peer's. Thread-safe; each
/// function returns when what it asked for has been done.
class Relay {
 public:
  /// Listens at once, on a free port. Ends the process where there is no socket to be had.
  explicit Relay(int server_port) : server_port_(server_port), listener_(Socket::Bound(0)), port_(listener_.port()) {
    if (::pipe(wake_) != 0) std::abort();
    for (int end : wake_) {
      ::fcntl(end, F_SETFD, FD_CLOEXEC);
      ::fcntl(end, F_SETFL, O_NONBLOCK);
    }
    Listen();
    thread_ = std::thread([this] { Serve(); });
  }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;
  /// Resets what is connected.
  ~Relay() {
    Do([this] {
      ResetEach();
      quit_ = true;
    });
    thread_.join();
    for (int end : wake_) ::close(end);
  }

  int port() const { return port_; }
  /// Connections accepted in all.
  int accepted() const { return accepted_; }
  int open() const { return open_; }

  /// Closes the port and resets what is connected. New connections are refused.
  void Stop() {
    Do([this] {
      listening_ = false;
      listener_.Close();
      ResetEach();
      listener_ = Socket::Bound(port_);  // not listening; nobody else gets the port
    });
  }
  /// Listens again on the same port.
  void Start() {
    Do([this] { Listen(); });
  }
  /// Neither accepts nor reads from clients any more. The kernel still completes connections and takes some bytes.
  void StopReading() {
    Do([this] { reading_ = false; });
  }
  void ResumeReading() {
    Do([this] { reading_ = true; });
  }
  /// Forgets what is connected, as a NAT or a balancer does: nothing that either side sends by it arrives any more, and
  /// neither is told. New connections are relayed as ever.
  void Forget() {
    Do([this] {
      for (const auto& entry : connections_) entry->forgotten = true;
    });
  }
  /// To be said before a client connects: reads about `bytes` from each connection, and then no more; nor does the
  /// kernel take much.
  void StopReadingAfter(std::uint64_t bytes) {
    Do([this, bytes] {
      most_to_pass_ = bytes;
      listener_.set_receive_buffer(1 << 16);  // those that it accepts have it too
    });
  }
  /// Returns when a connection has been read as far as StopReadingAfter said.
  void WaitUntilSated() {
    std::unique_lock lock(mutex_);
    worked_.wait(lock, [this] { return sated_; });
  }
  void ResetAll() {
    Do([this] { ResetEach(); });
  }
  /// Resets one connection, after what the server has written to it. False where there is none.
  bool Reset(int connection) {
    bool found = false;
    Do([&] {
      for (const auto& entry : connections_) {
        if (entry->name != connection) continue;
        found = true;
        entry->to_client.Fill(entry->server.fd());
        entry->to_client.Flush(entry->client.fd());
        Reset(*entry);
      }
      Sweep();
    });
    return found;
  }
  /// Sends GOAWAY with NO_ERROR to the connection's client. `processed`: its streams go on, and no last stream is
  /// named; else none was processed, and those that are open are refused. False where there is no such connection, or
  /// it is not plaintext HTTP/2.
  bool GoAway(int connection, bool processed) {
    bool done = false;
    Do([&] {
      for (const auto& entry : connections_) {
        if (entry->name != connection || entry->to_server.beginning() != "PRI") continue;
        done = true;
        std::string frames = FrameHead::GoAway(processed ? 0x7fffffff : 0);
        if (!processed) {
          MarkCut(connection);
          for (std::uint32_t stream : entry->streams) frames += FrameHead::Refuse(stream);
        }
        entry->to_client.Inject(frames);
        entry->to_client.Flush(entry->client.fd());
      }
    });
    return done;
  }
  /// Whether the relay itself reset the connection or refused its streams.
  bool WasCut(int connection) const {
    std::lock_guard lock(mutex_);
    return cut_.contains(connection);
  }

 private:
  static constexpr short kBroken = POLLERR | POLLHUP | POLLNVAL;

  struct Connection {
    Connection(Socket client_socket, Socket server_socket)
        : client(std::move(client_socket)), server(std::move(server_socket)), name(server.port()) {}

    void OnClientFrame(const FrameHead& head) {
      if (head.type == FrameHead::kHeaders && head.stream > last_stream) streams.insert(last_stream = head.stream);
      if (head.type == FrameHead::kRstStream) streams.erase(head.stream);
    }
    void OnServerFrame(const FrameHead& head) {
      const bool ends = (head.type == FrameHead::kHeaders || head.type == FrameHead::kData) &&
                        (head.flags & FrameHead::kEndStream) != 0;
      if (ends || head.type == FrameHead::kRstStream) streams.erase(head.stream);
    }

    Socket client;
    Socket server;
    const int name;
    bool forgotten = false;
    std::uint32_t last_stream = 0;
    std::set<std::uint32_t> streams;  // those open
    // The preface: RFC 9113, section 3.4.
    Direction to_server{24, [this](const FrameHead& head) { OnClientFrame(head); }};
    Direction to_client{0, [this](const FrameHead& head) { OnServerFrame(head); }};
  };

  /// Runs `work` on the relay's thread, which alone touches the sockets, and waits for it.
  void Do(std::function<void()> work) {
    std::unique_lock lock(mutex_);
    work_.push_back(std::move(work));
    const std::uint64_t ticket = ++given_;
    const char byte = 0;
    // A full pipe wakes the thread as well.
    [[maybe_unused]] const ssize_t written = ::write(wake_[1], &byte, 1);
    worked_.wait(lock, [&] { return done_ >= ticket; });
  }
  void Work() {
    char bytes[64];
    while (::read(wake_[0], bytes, sizeof(bytes)) > 0) {
    }
    std::vector<std::function<void()>> work;
    {
      std::lock_guard lock(mutex_);
      work.swap(work_);
    }
    for (const auto& task : work) task();
    std::lock_guard lock(mutex_);
    done_ += work.size();
    worked_.notify_all();
  }

  void Serve() {
    std::vector<pollfd> polled;
    while (!quit_) {
      polled.clear();
      polled.push_back({wake_[0], POLLIN, 0});
      polled.push_back({listening_ && reading_ ? listener_.fd() : -1, POLLIN, 0});
      for (const auto& entry : connections_) {
        const bool lost = entry->forgotten;
        polled.push_back(Wants(entry->client.fd(), reading_ && (lost || entry->to_server.hungry()),
                               !lost && entry->to_client.pending()));
        polled.push_back(
            Wants(entry->server.fd(), lost || entry->to_client.hungry(), !lost && entry->to_server.pending()));
      }
      if (::poll(polled.data(), polled.size(), -1) < 0) continue;
      for (std::size_t i = 0; i < connections_.size(); ++i) {
        Carry(*connections_[i], polled[2 + 2 * i].revents, polled[3 + 2 * i].revents);
        if (connections_[i]->to_server.sated()) MarkSated();
      }
      Sweep();
      if (polled[1].revents != 0) Accept();
      if (polled[0].revents != 0) Work();
    }
  }
  static pollfd Wants(int fd, bool read, bool write) {
    return {fd, static_cast<short>((read ? POLLIN : 0) | (write ? POLLOUT : 0)), 0};
  }
  // Reads what has come, for nobody. False once that side has ended.
  static bool Swallow(int fd) {
    std::array<char, 65536> bytes;
    ssize_t got = 0;
    while ((got = ::read(fd, bytes.data(), bytes.size())) > 0) {
    }
    return got < 0 && (errno == EAGAIN || errno == EINTR);
  }
  static void Carry(Connection& connection, short client, short server) {
    if (connection.forgotten) {
      if ((client | server) == 0) return;
      const bool both = Swallow(connection.client.fd()) && Swallow(connection.server.fd());
      if (both && ((client | server) & kBroken) == 0) return;
      connection.client.Reset();
      connection.server.Reset();
      return;
    }
    if ((client & (POLLIN | kBroken)) != 0) connection.to_server.Fill(connection.client.fd());
    if ((server & (POLLIN | kBroken)) != 0) connection.to_client.Fill(connection.server.fd());
    if ((client | server) == 0) return;
    connection.to_server.Flush(connection.server.fd());
    connection.to_client.Flush(connection.client.fd());
    // What is broken would be polled for ever.
    if (((client | server) & kBroken) != 0 || connection.to_server.broken() || connection.to_client.broken()) {
      connection.client.Reset();
      connection.server.Reset();
    } else if (connection.to_server.finished() || connection.to_client.finished()) {
      connection.client.Close();
      connection.server.Close();
    }
  }
  void Listen() {
    if (::listen(listener_.fd(), SOMAXCONN) != 0) std::abort();
    listening_ = true;
  }
  void Accept() {
    while (true) {
      Socket client(::accept(listener_.fd(), nullptr, nullptr));
      if (!client.open()) return;
      ++accepted_;
      Socket server = Socket::Connected(server_port_);
      if (!server.open()) {
        client.Reset();
        continue;
      }
      {
        std::lock_guard lock(mutex_);
        cut_.erase(server.port());  // of an earlier connection
      }
      connections_.push_back(std::make_unique<Connection>(std::move(client), std::move(server)));
      connections_.back()->to_server.set_most_to_pass(most_to_pass_);
      open_ = static_cast<int>(connections_.size());
    }
  }
  void MarkSated() {
    std::lock_guard lock(mutex_);
    if (!std::exchange(sated_, true)) worked_.notify_all();
  }
  void MarkCut(int connection) {
    std::lock_guard lock(mutex_);
    cut_.insert(connection);
  }
  void Reset(Connection& connection) {
    MarkCut(connection.name);
    connection.client.Reset();
    connection.server.Reset();
  }
  void ResetEach() {
    for (const auto& entry : connections_) Reset(*entry);
    Sweep();
  }
  void Sweep() {
    std::erase_if(connections_, [](const auto& entry) { return !entry->client.open(); });
    open_ = static_cast<int>(connections_.size());
  }

  const int server_port_;
  int wake_[2] = {-1, -1};
  // Of the relay's thread alone, once that runs.
  Socket listener_;
  const int port_;
  bool listening_ = false;
  bool reading_ = true;
  std::uint64_t most_to_pass_ = (std::numeric_limits<std::uint64_t>::max)();
  bool quit_ = false;
  std::vector<std::unique_ptr<Connection>> connections_;

  std::atomic<int> accepted_{0};
  std::atomic<int> open_{0};
  mutable std::mutex mutex_;
  std::condition_variable worked_;
  std::vector<std::function<void()>> work_;
  std::uint64_t given_ = 0;
  std::uint64_t done_ = 0;
  std::set<int> cut_;
  bool sated_ = false;
  std::thread thread_;
};

}  // namespace testing
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_TESTING_RELAY_H_
