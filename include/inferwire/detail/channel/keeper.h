// SPDX-License-Identifier: Apache-2.0
//
// Sees to it that no peer holds a thread: closes connections that flood, and tells of threads that do not come back.
#ifndef INFERWIRE_DETAIL_CHANNEL_KEEPER_H_
#define INFERWIRE_DETAIL_CHANNEL_KEEPER_H_

#include <time.h>

#if defined(__linux__)
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/detail/base/process.h"
#include "inferwire/detail/base/thread.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// A thread's visits to gRPC, one after the other. gRPC reads whatever socket has something, for whomever it is, and as
/// long as more is there: a visit lasts for as long as a peer likes. Written by one thread at a time.
class Visits {
 public:
  Visits() = default;
  Visits(const Visits&) = delete;
  Visits& operator=(const Visits&) = delete;
  virtual ~Visits() = default;

  void Enter() {
    clock_.store(ThreadClock(), std::memory_order_relaxed);
    count_.store(count() + 1, std::memory_order_release);  // odd within
  }
  void Leave() { count_.store(count() + 1, std::memory_order_release); }
  /// Differs from visit to visit.
  std::uint64_t count() const { return count_.load(std::memory_order_acquire); }

  /// The thread has worked for a while within one visit, and works on. From the keeper: must neither block nor call
  /// gRPC.
  virtual void OnHeld() {}

 private:
  friend class Keeper;
  static clockid_t ThreadClock() {
#if defined(__linux__)
    static thread_local constinit clockid_t clock = 0;
    if (clock == 0) ::pthread_getcpuclockid(::pthread_self(), &clock);
    return clock;
#else
    return 0;
#endif
  }

  std::atomic<std::uint64_t> count_{0};
  std::atomic<clockid_t> clock_{0};
  // The keeper's own:
  std::uint64_t seen_ = 0;
  std::int64_t worked_ = 0;  // nanoseconds of its thread's time when it was looked at
};

/// Of the connections of one channel together.
struct Traffic {
  std::atomic<int> in_flight{0};   ///< calls
  std::atomic<int> waiting{0};     ///< threads that wait for a connection
  std::atomic<unsigned> begun{0};  ///< calls so far
  std::atomic<int> floods{0};      ///< how often one was closed, since its peer sent without end what means nothing
};

/// What comes by one connection, counted by the kernel; found by a mark that its socket bears.
class Flow {
 public:
  /// `window` is what the peer may send to begin with.
  explicit Flow(std::shared_ptr<Traffic> traffic, std::uint64_t window = 0)
      : traffic_(std::move(traffic)), first_window_(window) {}

  /// Milliseconds of TCP_USER_TIMEOUT that no other connection of the process has.
  int mark() const { return mark_; }
  /// A message of so many bytes has come by it. What is small travels in records and frames of its own.
  void HearMessage(std::size_t bytes) { Hear(bytes + bytes / 16 + (1 << 10)); }
  /// An end has, with all that a server may have to say of it.
  void HearEnd() { Hear(64 << 10); }
  /// How many bytes that accounts for.
  std::uint64_t heard() const { return heard_.load(std::memory_order_relaxed); }

 private:
  friend class Keeper;
  void Hear(std::uint64_t bytes) { heard_.fetch_add(bytes, std::memory_order_relaxed); }

  const std::shared_ptr<Traffic> traffic_;
  const std::uint64_t first_window_;
  int mark_ = 0;
  std::atomic<std::uint64_t> heard_{0};
  // The keeper's own:
  struct Counts {
    std::uint64_t received = 0, sent = 0, unread = 0;
    std::uint64_t read = 0;  // of what was received: the rest has cost nobody anything
  };
  // Since the last sign of progress.
  struct Vain {
    Counts from;
    int looks = 0;
    std::uint64_t unclear = 0;  // of what was read, that beside which calls began
    std::int64_t worked = 0;    // nanoseconds that a thread was held while it was read
  };
  // Sometimes more than one: gRPC connects anew beside a connection whose server wants to go.
  struct Socket {
    int number;
    Counts now = {};
    bool sampled = false;  // at the last look, by what follows
    Counts last = {};
    Vain vain = {};
    std::uint64_t heard = 0;
    unsigned begun = 0, ended = 0;  // calls
    int owed = 0;                   // looks at which what they send may yet be seen
    std::uint64_t useful = 0;       // of what was read, up to the last message or end
    std::uint64_t window = 0;       // the most that was read between two signs of progress
    std::int64_t suspicious = 0;    // nanoseconds that threads have spent on it to no purpose
  };
  std::vector<Socket> sockets_;
  bool abandoned_ = false;
};

/// A thread that waits for a connection, and that gRPC has read meanwhile whatever comes for others.
class Waiting {
 public:
  explicit Waiting(std::shared_ptr<Traffic> traffic);
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting();

 private:
  const std::shared_ptr<Traffic> traffic_;
  const std::shared_ptr<Visits> visits_ = std::make_shared<Visits>();
};

/// One thread for the process, which is there while calls are in flight. It looks a hundred times a second while the
/// process is busy, a few times a second else, and touches nothing but sockets and clocks, so that nobody can hold it.
class Keeper {
 public:
  static Keeper& Instance() { return OfThisProcess<Keeper>(); }

  void Watch(const std::shared_ptr<Visits>& visits) {
    std::lock_guard lock(mutex_);
    std::erase_if(visits_, [](const auto& one) { return one.expired(); });
    visits_.push_back(visits);
  }
  /// Gives it a mark of about `timeout_ms`, and at least that.
  void Watch(const std::shared_ptr<Flow>& flow, int timeout_ms) {
    std::lock_guard lock(mutex_);
    const int span = std::clamp(timeout_ms / 20, 1, kMostMarks);
    const int base = (std::min)(timeout_ms, (std::numeric_limits<int>::max)() - kMostMarks - 2) + 1;
    std::vector<bool> taken(static_cast<std::size_t>(span));
    if (!serving_) std::erase_if(flows_, Abandoned);
    for (const auto& other : flows_) {
      const int at = other->mark_ - base;
      if (at >= 0 && at < span) taken[static_cast<std::size_t>(at)] = true;
    }
    flow->mark_ = timeout_ms;  // where all are taken it is not to be told from others, and not watched
    for (int i = 0; i < span; ++i) {
      const int at = (next_mark_ + i) % span;  // not the one that was given up a moment ago
      if (taken[static_cast<std::size_t>(at)]) continue;
      next_mark_ = at + 1;
      flow->mark_ = base + at;
      flows_.push_back(flow);
      return;
    }
  }
  /// A call has begun.
  void Wake() {
#if defined(__linux__)
    if (!serving_.load()) Start();
#endif
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kMostMarks = 1000;
  static constexpr std::chrono::milliseconds kShortest{10}, kLongest{40};
  static constexpr std::chrono::seconds kLinger{1};
  static constexpr std::int64_t kHeld = 2'000'000;  // no visit works that long, but for a peer that has it read on

  // Nobody calls by it any more. Its connection may be there yet, where gRPC reads on and on and so never comes to
  // close it.
  static bool Abandoned(const std::shared_ptr<Flow>& flow) { return flow.use_count() == 1; }

#if defined(__linux__)
  void Start() {
    std::lock_guard lock(mutex_);
    if (serving_.exchange(true)) return;
    if (!StartThread([this] { Serve(); })) serving_ = false;  // the next call tries again
  }

  static std::int64_t Read(clockid_t clock) {
    timespec time{};
    if (::clock_gettime(clock, &time) != 0) return 0;
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }

  void Serve() {
    std::chrono::milliseconds wait = kShortest;
    Clock::time_point used = Clock::now();
    std::int64_t worked = Read(CLOCK_PROCESS_CPUTIME_ID);
    while (true) {
      std::this_thread::sleep_for(wait);
      std::vector<std::shared_ptr<Visits>> visits;
      std::vector<std::shared_ptr<Flow>> flows;
      {
        std::lock_guard lock(mutex_);
        for (const auto& one : visits_) {
          if (std::shared_ptr<Visits> living = one.lock()) visits.push_back(std::move(living));
        }
        std::erase_if(flows_, [this](const auto& flow) {
          if (!Abandoned(flow)) return false;
          if (std::exchange(flow->abandoned_, true)) return flow->sockets_.empty();
          look_again_ = {};  // whether it is there yet is to be known at once
          return false;
        });
        flows = flows_;
        const Clock::time_point now = Clock::now();
        const auto in_use = [](const auto& flow) {
          return flow->traffic_->in_flight.load() > 0 || flow->traffic_->waiting.load() > 0 || flow->abandoned_;
        };
        if (std::any_of(flows.begin(), flows.end(), in_use)) used = now;
        if (now - used > kLinger) {
          serving_ = false;
          // A call that began just now has seen that it need not start anybody.
          if (std::none_of(flows.begin(), flows.end(), in_use)) return;
          serving_ = true;
          used = now;
        }
      }
      const std::int64_t before = std::exchange(worked, Read(CLOCK_PROCESS_CPUTIME_ID));
      // No flood leaves the process idle.
      const bool busy = worked - before > std::chrono::nanoseconds(wait).count() / 20;
      wait = busy ? kShortest : (std::min)(2 * wait, kLongest);
      const std::int64_t held = (std::max)(LookAtVisits(visits), LookAtHelpers(busy));
      if (busy) {
        LookAtFlows(flows, held);
      } else {
        for (const auto& flow : flows) {
          // What is read while others take the processors is no pause.
          for (Flow::Socket& socket : flow->sockets_) socket.sampled = socket.sampled && wait < kLongest;
          if (flow->abandoned_) flow->sockets_.clear();  // gRPC has come to close it
        }
      }
    }
  }

  // Gives the time that the most occupied thread has spent, since the last look, within one visit.
  static std::int64_t LookAtVisits(const std::vector<std::shared_ptr<Visits>>& visits) {
    std::int64_t most = 0;
    for (const auto& one : visits) {
      const std::uint64_t count = one->count();
      if (count % 2 == 0) continue;
      const std::int64_t now = Read(one->clock_.load(std::memory_order_relaxed));
      const bool same = std::exchange(one->seen_, count) == count;
      const std::int64_t spent = now - std::exchange(one->worked_, now);
      if (!same || spent < kHeld || one->count() != count) continue;
      most = (std::max)(most, spent);
      one->OnHeld();
    }
    return most;
  }

  // Where two threads want one connection, gRPC has a helper of its own go on with it, which is then the one that is
  // held. What users run there counts too, and does no harm by itself.
  std::int64_t LookAtHelpers(bool busy) {
    const Clock::time_point now = Clock::now();
    if (busy && now >= find_helpers_again_) {
      FindHelpers();
      find_helpers_again_ = Clock::now() + (std::max<Clock::duration>)(kLongest, 30 * (Clock::now() - now));
    }
    std::int64_t most = 0;
    for (Helper& one : helpers_) {
      const std::int64_t worked = Read(one.clock);
      if (const std::int64_t before = std::exchange(one.worked, worked); before != 0) {
        most = (std::max)(most, worked - before);
      }
    }
    return most;
  }
  void FindHelpers() {
    constexpr clockid_t kOfThread = 6;  // how the kernel names the time of a thread by its number
    std::vector<Helper> found;
    DIR* const all = ::opendir("/proc/self/task");
    if (all == nullptr) return;
    while (const dirent* const one = ::readdir(all)) {
      const int thread = std::atoi(one->d_name);
      if (thread == 0) continue;
      const int file = ::open(("/proc/self/task/" + std::to_string(thread) + "/comm").c_str(), O_RDONLY | O_CLOEXEC);
      if (file < 0) continue;
      char name[16];
      const ssize_t size = ::read(file, name, sizeof(name));
      ::close(file);
      const std::string_view text(name, static_cast<std::size_t>((std::max<ssize_t>)(size, 0)));
      if (!text.starts_with("default-execut") && !text.starts_with("grpc_global_ti")) continue;
      const clockid_t clock = static_cast<clockid_t>(~static_cast<unsigned int>(thread) << 3) | kOfThread;
      const auto known = std::find_if(helpers_.begin(), helpers_.end(), [&](auto& two) { return two.clock == clock; });
      found.push_back(known != helpers_.end() ? *known : Helper{clock});
    }
    ::closedir(all);
    helpers_ = std::move(found);
  }

  void LookAtFlows(const std::vector<std::shared_ptr<Flow>>& flows, std::int64_t held) {
    bool missing = false;
    int read = 0;
    for (const auto& flow : flows) {
      std::erase_if(flow->sockets_,
                    [&](Flow::Socket& socket) { return !Count(socket.number, flow->mark_, socket.now); });
      missing = missing || flow->sockets_.empty();
      read += std::any_of(flow->sockets_.begin(), flow->sockets_.end(), Reads) ? 1 : 0;
    }
    for (const auto& flow : flows) {
      // A thread that is held is held by the one that is read, where there is but one.
      for (Flow::Socket& socket : flow->sockets_) LookAt(*flow, socket, held, read == 1 ? held : 0);
    }
    const Clock::time_point now = Clock::now();
    // What holds a thread may be one that is not known yet.
    if ((!missing && held < kHeld) || now < look_again_) return;
    FindSockets(flows);
    // Descriptors may be many, and some connections have none.
    look_again_ = Clock::now() + (std::max<Clock::duration>)(std::chrono::milliseconds(15), 30 * (Clock::now() - now));
  }

  // What comes counts against the progress that there is beside it: messages, ends, and windows that are opened,
  // without which no answer is large. All else that a server sends without end is a flood: of small frames, which cost
  // much; of those that want an answer each; or of large ones that mean nothing.
  static void LookAt(Flow& flow, Flow::Socket& socket, std::int64_t held, std::int64_t held_by_it) {
    constexpr std::uint64_t kLittle = 16 << 10;  // not worth a look
    // Headers without compression become dear with their size; what is dear among the first bytes is none of them.
    constexpr std::uint64_t kFirst = 5 << 19, kDearer = 6 << 20, kMost = 12 << 20;
    constexpr std::int64_t kPatience = 6'000'000;
    // Nanoseconds a byte: a quarter of what small frames take, about what headers do, and many times what large ones
    // do. Other processors may be slow to decrypt.
#if defined(__x86_64__)
    constexpr std::int64_t kDear = 8;
#else
    constexpr std::int64_t kDear = 32;
#endif
    Flow::Counts& now = socket.now;
    const std::uint64_t heard = flow.heard();
    const bool first = !socket.sampled;
    if (first || now.received < socket.last.received || now.sent < socket.last.sent) {
      // It is watched from now on, a new one from its beginning. What an old one may have opened is not known.
      const bool fresh = heard == 0 && now.received < kMost;
      socket.sampled = true;
      socket.window = (std::max)(socket.window, flow.first_window_);
      if (!fresh) socket.window = (std::max)(socket.window, (std::min)(now.received, kMost / 4));
      socket.last = fresh ? Flow::Counts() : now;
      socket.vain = {socket.last};
      socket.useful = socket.last.read;
      socket.heard = heard;
      socket.suspicious = 0;
      if (!fresh) return;
    }
    // What arrived while it was counted has not been read less for it.
    now.read = (std::max)(now.read, socket.last.read);
    const std::uint64_t read = now.read - socket.last.read, sent = now.sent - socket.last.sent;
    // What is heard came by the newest, for all that is known here.
    const bool newest = &socket == &flow.sockets_.back();
    const std::uint64_t due = newest ? heard - socket.heard : 0;
    const std::uint64_t vain = read > due ? read - due : 0;
    const bool acknowledges = vain >= kLittle && sent >= read / 4;
    // A PING, or the answer to one, opens no window. What calls send as they begin and end tells nothing of windows,
    // and may be seen later, where whoever is to send it is held. A fast network brings much between two looks, hence
    // one look alone tells nothing.
    constexpr std::uint64_t kPing = 17;
    constexpr int kMostOwed = 8;
    const unsigned begun = flow.traffic_->begun.load(std::memory_order_relaxed);
    const unsigned ended = begun - static_cast<unsigned>(flow.traffic_->in_flight.load(std::memory_order_relaxed));
    const unsigned turned = begun - std::exchange(socket.begun, begun) + ended - std::exchange(socket.ended, ended);
    socket.owed = (std::min)(socket.owed + 2 * static_cast<int>((std::min)(turned, 4U)), kMostOwed);
    const bool calls = socket.owed > 0;
    const bool sends = !first && sent % kPing != 0 && !acknowledges;
    const bool opens = sends && !calls;
    if (sent == 0 && now.unread == 0) socket.owed = 0;
    const bool reads = Reads(socket);
    if (sends && calls) --socket.owed;
    ++socket.vain.looks;
    socket.vain.unclear += sends && calls ? read : 0;
    socket.vain.worked += reads && now.unread > 0 ? held_by_it : 0;
    if (opens || (due > 0 && due >= read / 2)) {
      if (opens) socket.window = (std::max)(socket.window, now.read - socket.vain.from.read);
      socket.vain = {now};
    }
    if (due >= read) {
      socket.useful = now.read;
      socket.suspicious = 0;
    }
    socket.last = now;
    socket.heard = heard;
    if (now.unread == 0) return;  // who reads it keeps up
    if (flow.abandoned_) {
      if (reads) Close(socket.number, flow.mark_);
      return;
    }
    if (vain >= kLittle) socket.suspicious += held;
    const std::uint64_t since = (std::max<std::uint64_t>)(now.read - socket.useful, 1);
    const std::int64_t price = socket.suspicious / static_cast<std::int64_t>(since);
    // That beside which a window may have been opened counts for a half.
    const std::uint64_t vainly = now.read - socket.vain.from.read - socket.vain.unclear / 2;
    const std::uint64_t most = 4 * socket.window;
    const bool dearer = price >= kDear / 4 && vainly >= (std::max)(kDearer, most);
    const bool much = socket.vain.looks > 1 && vainly >= (std::max)(kMost, most);
    const auto understood = static_cast<std::int64_t>((std::max<std::uint64_t>)(now.read - socket.vain.from.read, 1));
    const bool began = socket.vain.worked <= 8 * kPatience;
    const bool dearest = socket.vain.looks > 2 && socket.vain.worked >= 4 * kPatience &&
                         socket.vain.worked / understood >= (began ? 6 : 16) * kDear;
    const bool small = 2 * price >= 5 * kDear && since >= kFirst / 4 && since <= kFirst;
    const bool answered = acknowledges && socket.suspicious >= kPatience && price >= kDear / 4;
    const bool flooded = dearest || (vain >= kLittle && (small || answered || (!acknowledges && (dearer || much))));
    if (flooded && Close(socket.number, flow.mark_)) flow.traffic_->floods.fetch_add(1, std::memory_order_relaxed);
  }

  // Since the last look.
  static bool Reads(const Flow::Socket& socket) { return socket.now.read >= socket.last.read + (4 << 10); }
  static int MarkOf(int socket) {
    unsigned int mark = 0;
    socklen_t size = sizeof(mark);
    return ::getsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &mark, &size) == 0 ? static_cast<int>(mark) : 0;
  }
  static bool Count(int socket, int mark, Flow::Counts& out) {
    // As the kernel lays out tcp_info, whose head in the C library is shorter.
    struct {
      unsigned char before[128];
      std::uint64_t received;
      unsigned char between[64];
      std::uint64_t sent;
    } info;
    socklen_t size = sizeof(info);
    if (socket < 0 || MarkOf(socket) != mark) return false;
    if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || size < sizeof(info)) return false;
    int unread = 0;
    if (::ioctl(socket, FIONREAD, &unread) != 0) return false;
    const std::uint64_t waits = (std::min)(static_cast<std::uint64_t>((std::max)(unread, 0)), info.received);
    out = {info.received, info.sent, waits, info.received - waits};
    return true;
  }
  static void FindSockets(const std::vector<std::shared_ptr<Flow>>& flows) {
    DIR* const all = ::opendir("/proc/self/fd");
    if (all == nullptr) return;
    while (const dirent* const one = ::readdir(all)) {
      const int socket = std::atoi(one->d_name);
      if (socket <= 2) continue;
      const int mark = MarkOf(socket);
      if (mark == 0) continue;
      for (const auto& flow : flows) {
        const auto is_known = [socket](const Flow::Socket& known) { return known.number == socket; };
        if (flow->mark_ != mark || std::any_of(flow->sockets_.begin(), flow->sockets_.end(), is_known)) continue;
        flow->sockets_.push_back({socket});
      }
    }
    ::closedir(all);
  }
  // Whoever reads it, wherever, finds its end.
  static bool Close(int socket, int mark) {
    // The number may be another's by now; what the copy is stays.
    const int copy = ::fcntl(socket, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return false;
    const bool closed = MarkOf(copy) == mark && ::shutdown(copy, SHUT_RDWR) == 0;
    // What lies there unread, some MiB, is not to be read either.
    for (int i = 0; closed && i < 100 && ::recv(copy, nullptr, 1 << 20, MSG_TRUNC | MSG_DONTWAIT) > 0; ++i) {
    }
    ::close(copy);
    return closed;
  }

  struct Helper {
    clockid_t clock;
    std::int64_t worked = 0;
  };
  std::vector<Helper> helpers_;
  Clock::time_point look_again_, find_helpers_again_;
#endif

  std::mutex mutex_;
  std::vector<std::weak_ptr<Visits>> visits_;
  std::vector<std::shared_ptr<Flow>> flows_;
  int next_mark_ = 0;
  std::atomic<bool> serving_{false};
};

inline Waiting::Waiting(std::shared_ptr<Traffic> traffic) : traffic_(std::move(traffic)) {
  Keeper::Instance().Watch(visits_);
  traffic_->waiting.fetch_add(1);
  Keeper::Instance().Wake();
  visits_->Enter();
}
inline Waiting::~Waiting() {
  visits_->Leave();
  traffic_->waiting.fetch_sub(1);
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_CHANNEL_KEEPER_H_
