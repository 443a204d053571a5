// SPDX-License-Identifier: Apache-2.0
//
// A program that a test starts, and kills or asks to end.
#ifndef INFERWIRE_TESTS_SUPPORT_PROCESS_H_
#define INFERWIRE_TESTS_SUPPORT_PROCESS_H_

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"

namespace inferwire_test {

/// Runs from its construction to its destruction, which kills it (SIGKILL) and waits for it.
class Process {
 public:
  /// Waits for the program's first line, by which servers say that they listen; `quiet` ones are not waited for.
  explicit Process(const std::vector<std::string>& command, bool quiet = false) {
    std::array<int, 2> out;
    REQUIRE(::pipe2(out.data(), O_CLOEXEC) == 0);
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      const int nowhere = ::open("/dev/null", O_WRONLY);
      ::dup2(quiet ? nowhere : out[1], 1);
      if (quiet) ::dup2(nowhere, 2);
      ::execv(arguments[0], arguments.data());
      ::_exit(127);
    }
    ::close(out[1]);
    char c = 0;
    while (!quiet && c != '\n' && ::read(out[0], &c, 1) == 1) line_ += c;
    ::close(out[0]);
    const bool said = quiet || c == '\n';
    if (said && !quiet) line_.pop_back();
    INFO(command.at(0) << " said '" << line_ << "'");
    REQUIRE(said);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  /// What it said first, without the line's end.
  const std::string& line() const { return line_; }

  void Kill() { ::kill(pid_, SIGKILL); }
  /// Asks it to end (SIGTERM).
  void Terminate() { ::kill(pid_, SIGTERM); }
  /// Whether it has ended by itself within half a minute. It stays to be waited for by the destructor.
  bool Ended() {
    const int handle = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    pollfd end{handle, POLLIN, 0};
    const bool ended = ::poll(&end, 1, 30'000) == 1;
    ::close(handle);
    return ended;
  }

  /// What it ended with by itself within half a minute, or minus the signal that ended it.
  int ExitCode() {
    if (!Ended()) return -SIGALRM;
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  std::string line_;
};

}  // namespace inferwire_test

#endif  // INFERWIRE_TESTS_SUPPORT_PROCESS_H_
