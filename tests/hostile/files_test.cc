// SPDX-License-Identifier: Apache-2.0
//
// Files that a stranger wrote: what they claim costs nothing, and nothing of theirs is waited for.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "inferwire/credentials.h"
#include "inferwire/npy.h"
#include "inferwire/shared_memory.h"
#include "support/catch.h"
#include "support/memory.h"

using inferwire::FormatNpy;
using inferwire::InferInput;
using inferwire::ParseNpy;
using inferwire::ReadNpy;
using inferwire::Tls;
using inferwire_test::PeakGrowth;

namespace {
constexpr std::uintmax_t kMiB = std::uintmax_t{1} << 20;

class Folder {
 public:
  Folder()
      : path_(std::filesystem::temp_directory_path() / ("inferwire_files_" + std::to_string(std::random_device()()))) {
    std::filesystem::create_directory(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  // `begin`, and zeros up to `size`, which take no room on the disk.
  std::string File(const std::string& name, const std::string& begin, std::uintmax_t size) const {
    const std::string path = (path_ / name).string();
    std::ofstream(path, std::ios::binary) << begin;
    std::filesystem::resize_file(path, size);
    return path;
  }
  std::string Pipe() const {
    const std::string path = (path_ / "pipe").string();
    REQUIRE(mkfifo(path.c_str(), 0600) == 0);
    return path;
  }
  std::string path() const { return path_.string(); }

 private:
  const std::filesystem::path path_;
};

std::string Begin(const std::string& descr, const std::string& shape) {
  std::string header = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize(118, ' ');
  return std::string("\x93NUMPY\x01\0\x76\0", 10) + header;
}
std::string WhyNot(const std::string& path) {
  const absl::Status status = ReadNpy("x", path).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message().find(path) != absl::string_view::npos);
  return std::string(status.message());
}
bool Contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("a large file that is no array is refused by its first bytes", "[hostile][files]") {
  const Folder folder;
  std::string second("\x93NUMPY\x02\0", 8);
  second += std::string("\0\0\0\x20", 4);  // a header of half a GiB
  const std::pair<std::string, std::string> files[] = {
      {folder.File("zeros.npy", "", 800 * kMiB), "they do not begin with"},
      {folder.File("version.npy", std::string("\x93NUMPY\x04\0", 8), 800 * kMiB), "the .npy format 4.0 is unknown"},
      {folder.File("header.npy", second, 800 * kMiB), "the header claims 536870912 bytes; expected at most 65536"},
      {folder.File("less.npy", Begin("<f4", "(3,)"), 800 * kMiB), "does not take the 838860672 bytes"},
      {folder.File("more.npy", Begin("<f4", "(4611686018427387904,)"), 800 * kMiB), "does not take"},
      {folder.File("type.npy", Begin("<c8", "(104857584,)"), 800 * kMiB), "has no datatype"},
      {folder.File("order.npy", Begin(">f8", "(104857584,)"), 800 * kMiB), "is big-endian"},
      {folder.File("strings.npy", Begin("|S1", "(838860672,)"), 800 * kMiB), "838860672 strings of 1 bytes take more"},
      {folder.File("large.npy", Begin("|u1", "(5368708992,)"), 5120 * kMiB), "expected at most 2147483648"},
  };
  const PeakGrowth memory;
  for (const auto& [path, why] : files) {
    INFO(path);
    CHECK(Contains(WhyNot(path), why));
  }
  CHECK(memory.bytes() < 32 * kMiB);
}

TEST_CASE("an array takes the memory of its elements, and as much as is allowed", "[hostile][files]") {
  const Folder folder;
  const std::string path = folder.File("x.npy", Begin("<f4", "(16777216,)"), 64 * kMiB + 128);
  CHECK(Contains(ReadNpy("x", path, 64 * kMiB).status().ToString(), "expected at most 67108864"));
  const PeakGrowth memory;
  const auto input = ReadNpy("x", path);
  REQUIRE(input.ok());
  CHECK(input->size() == 16777216);
  CHECK(memory.bytes() < 96 * kMiB);
}

TEST_CASE("strings take a multiple of their size within bounds", "[hostile][files]") {
  const Folder folder;
  for (const int width : {1, 2, 4, 7}) {
    const std::uintmax_t count = 16 * kMiB / static_cast<std::uintmax_t>(width);
    const std::string descr = "|S" + std::to_string(width);
    const std::uintmax_t size = count * static_cast<std::uintmax_t>(width);
    const std::string path =
        folder.File("s" + std::to_string(width), Begin(descr, "(" + std::to_string(count) + ",)"), size + 128);
    const PeakGrowth memory;
    CHECK(Contains(WhyNot(path), "save array.view(numpy.uint8)"));
    CHECK(ParseNpy("x", Begin(descr, "(" + std::to_string(count) + ",)") + std::string(size, 'a')).status().code() ==
          absl::StatusCode::kInvalidArgument);
    CHECK(memory.bytes() < 80 * kMiB);
  }
  const auto few = ReadNpy("x", folder.File("few", Begin("|S1", "(1000,)"), 1128));
  REQUIRE(few.ok());
  CHECK(few->strings().size() == 1000);
  const auto wide = ReadNpy("x", folder.File("wide", Begin("|S8", "(4194304,)"), 32 * kMiB + 128));
  CHECK(wide.ok());
}

TEST_CASE("strings that would be almost all padding are not written", "[hostile][files]") {
  std::vector<std::string> strings(100'000);
  strings[0] = std::string(1 << 20, 'a');
  const InferInput ragged("x", std::move(strings), {100'000});
  const PeakGrowth memory;
  const absl::Status status = FormatNpy(ragged).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(std::string(status.message()), "100000 strings, padded to 1048576 bytes each"));
  CHECK(memory.bytes() < 32 * kMiB);
}

TEST_CASE("what is no regular file is refused, and not waited for", "[hostile][files]") {
  const Folder folder;
  const std::string pipe = folder.Pipe();
  for (const std::string& path : {std::string("/dev/zero"), std::string("/dev/null"), pipe, folder.path()}) {
    INFO(path);
    const PeakGrowth memory;
    CHECK(Contains(WhyNot(path), "it is no regular file, but a directory, a device or a pipe"));
    for (const auto field : {&inferwire::TlsOptions::root_certificates_file, &inferwire::TlsOptions::private_key_file,
                             &inferwire::TlsOptions::certificate_chain_file}) {
      inferwire::TlsOptions options;
      options.private_key_file = options.certificate_chain_file = "/nowhere";
      if (field == &inferwire::TlsOptions::root_certificates_file) options = {};
      options.*field = path;
      if (field == &inferwire::TlsOptions::private_key_file) continue;  // comes after its chain, which must exist
      const absl::Status status = Tls(options).Build().status();
      CHECK(status.code() == absl::StatusCode::kNotFound);
      CHECK(Contains(std::string(status.message()), "'" + path + "': it is no regular file"));
    }
    CHECK(memory.bytes() < 32 * kMiB);
  }
}

TEST_CASE("certificates of a size that there is not are not read", "[hostile][files]") {
  const Folder folder;
  const std::string path = folder.File("ca.pem", "-----BEGIN CERTIFICATE-----\n", 800 * kMiB);
  const PeakGrowth memory;
  const absl::Status status = Tls({.root_certificates_file = path}).Build().status();
  CHECK(status.code() == absl::StatusCode::kNotFound);
  CHECK(Contains(std::string(status.message()), "it has 838860800 bytes; expected at most 16777216"));
  CHECK(memory.bytes() < 32 * kMiB);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose allocators end the process
TEST_CASE("memory that there is not is a status", "[hostile][files]") {
  const Folder folder;
  const std::string numbers = folder.File("x.npy", Begin("<f4", "(268435424,)"), 128);
  std::filesystem::resize_file(numbers, std::uintmax_t{268435424} * 4 + 128);
  const std::string strings = folder.File("s.npy", Begin("|S8", "(33554432,)"), 256 * kMiB + 128);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    rlimit limit = {};
    std::ifstream statm("/proc/self/statm");
    rlim_t pages = 0;
    statm >> pages;
    limit.rlim_cur = limit.rlim_max = pages * 4096 + 300 * kMiB;
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(1);
    if (ReadNpy("x", numbers).status().code() != absl::StatusCode::kResourceExhausted) _exit(2);
    if (ReadNpy("x", strings).status().code() != absl::StatusCode::kResourceExhausted) _exit(3);
    _exit(0);
  }
  int ended = 0;
  REQUIRE(waitpid(child, &ended, 0) == child);
  CHECK(WIFEXITED(ended));
  CHECK(WEXITSTATUS(ended) == 0);
}
#endif

TEST_CASE("a pipe in the place of a shared-memory region is not waited for", "[hostile][files]") {
  const std::string name = "inferwire_files_" + std::to_string(std::random_device()());
  if (mkfifo(("/dev/shm/" + name).c_str(), 0600) != 0) return;  // where regions are not files
  CHECK(inferwire::SharedMemoryRegion::Create(name, 4096).status().code() == absl::StatusCode::kAlreadyExists);
  const auto region = inferwire::SharedMemoryRegion::Create(name, 4096, {.replace_abandoned = true});
  CHECK(region.ok());
  unlink(("/dev/shm/" + name).c_str());
}
