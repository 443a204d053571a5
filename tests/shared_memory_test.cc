// SPDX-License-Identifier: Apache-2.0
#include "inferwire/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/inference.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

namespace {

// Names are the machine's: ones that no other test or process has.
std::string Unique() {
  static std::atomic<int> count{0};
  return "inferwire_test_" + std::to_string(getpid()) + "_" + std::to_string(++count);
}

SharedMemoryRegion Region(std::size_t bytes = 4096) {
  auto region = SharedMemoryRegion::Create(Unique(), bytes);
  INFO(region.status().ToString());
  REQUIRE(region.ok());
  return *std::move(region);
}

bool Exists(const std::string& key) {
  const int file = shm_open(key.c_str(), O_RDONLY, 0);
  if (file >= 0) close(file);
  return file >= 0;
}

}  // namespace

TEST_CASE("a region is there for other processes until it ends", "[shared_memory]") {
  std::string key;
  {
    const SharedMemoryRegion region = Region();
    key = region.key();
    CHECK(key == "/" + region.name());
    CHECK(region.size() == 4096);
    REQUIRE(Exists(key));
    region.bytes()[17] = std::byte{42};
    const int file = shm_open(key.c_str(), O_RDONLY, 0);
    void* const other = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    REQUIRE(other != MAP_FAILED);
    CHECK(static_cast<const std::byte*>(other)[17] == std::byte{42});
    munmap(other, 4096);
  }
  CHECK_FALSE(Exists(key));
}

TEST_CASE("a moved region has one owner", "[shared_memory]") {
  SharedMemoryRegion first = Region();
  const std::string key = first.key();
  {
    SharedMemoryRegion second = std::move(first);
    CHECK(second.key() == key);
    SharedMemoryRegion third = Region();
    const std::string gone = third.key();
    third = std::move(second);
    CHECK(third.key() == key);
    CHECK_FALSE(Exists(gone));
    CHECK(Exists(key));
  }
  CHECK_FALSE(Exists(key));
}

TEST_CASE("a name that is taken, or is none, is refused", "[shared_memory][trap]") {
  const SharedMemoryRegion region = Region();
  const absl::Status taken = SharedMemoryRegion::Create(region.name(), 10).status();
  CHECK(taken.code() == absl::StatusCode::kAlreadyExists);
  CHECK(Contains(taken, region.name()));
  CHECK(Exists(region.key()));
  for (const std::string& name : {std::string(), std::string("a/b"), std::string(251, 'x'), std::string("a\0b", 3)}) {
    CHECK(SharedMemoryRegion::Create(name, 10).status().code() == absl::StatusCode::kInvalidArgument);
  }
}

namespace {

// What a process leaves behind that ends without its destructors running.
std::string LeftBehind() {
  const std::string name = Unique();
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto region = SharedMemoryRegion::Create(name, 64);
    if (region.ok()) region->bytes()[0] = std::byte{7};
    _exit(region.ok() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(status == 0);
  REQUIRE(Exists("/" + name));
  return name;
}

}  // namespace

TEST_CASE("a region that a crash left behind is replaced on demand, and the error says how", "[shared_memory]") {
  const std::string name = LeftBehind();
  const absl::Status taken = SharedMemoryRegion::Create(name, 4096).status();
  CHECK(taken.code() == absl::StatusCode::kAlreadyExists);
  CHECK(Contains(taken, "replace_abandoned"));
  {
    const auto region = SharedMemoryRegion::Create(name, 4096, {.replace_abandoned = true});
    INFO(region.status().ToString());
    REQUIRE(region.ok());
    CHECK(region->size() == 4096);
    CHECK(region->bytes()[0] == std::byte{0});
    CHECK(Exists(region->key()));
  }
  CHECK_FALSE(Exists("/" + name));
  // Where there is nothing to replace, a region is made.
  CHECK(SharedMemoryRegion::Create(name, 4096, {.permissions = 0640, .replace_abandoned = true}).ok());
}

TEST_CASE("a region whose process lives is not replaced, nor one whose child does", "[shared_memory]") {
  const auto refused = [](const std::string& name) {
    const absl::Status status = SharedMemoryRegion::Create(name, 10, {.replace_abandoned = true}).status();
    CHECK(status.code() == absl::StatusCode::kAlreadyExists);
    CHECK(Contains(status, "a process that runs"));
    CHECK(Exists("/" + name));
  };
  SharedMemoryRegion region = Region();
  refused(region.name());
  SharedMemoryRegion moved = std::move(region);
  refused(moved.name());
  // Another process's.
  const std::string name = Unique();
  std::array<int, 2> made{}, end{};
  REQUIRE(pipe(made.data()) == 0);
  REQUIRE(pipe(end.data()) == 0);
  const pid_t child = fork();
  if (child == 0) {
    close(end[1]);
    const auto theirs = SharedMemoryRegion::Create(name, 64);
    char c = theirs.ok() ? '1' : '0';
    static_cast<void>(!write(made[1], &c, 1));
    static_cast<void>(!read(end[0], &c, 1));  // until the pipe is closed
    _exit(0);
  }
  char c = 0;
  REQUIRE(read(made[0], &c, 1) == 1);
  CHECK(c == '1');
  refused(name);
  close(end[1]);
  waitpid(child, nullptr, 0);
  CHECK(SharedMemoryRegion::Create(name, 64, {.replace_abandoned = true}).ok());
  for (const int file : {made[0], made[1], end[0]}) close(file);
}

TEST_CASE("a region that was removed and made anew by others is not removed with the old one", "[shared_memory]") {
  std::string key;
  {
    const SharedMemoryRegion region = Region();
    key = region.key();
    shm_unlink(key.c_str());
    const int other = shm_open(key.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
    REQUIRE(other >= 0);
    close(other);
  }
  CHECK(Exists(key));
  shm_unlink(key.c_str());
}

TEST_CASE("of several that replace at a time one has it", "[shared_memory][concurrency]") {
  for (int round = 0; round < 20; ++round) {
    const std::string name = LeftBehind();
    std::array<int, 2> go{}, had{};
    REQUIRE(pipe(go.data()) == 0);
    REQUIRE(pipe(had.data()) == 0);
    std::array<pid_t, 4> children{};
    for (pid_t& child : children) {
      child = fork();
      if (child != 0) continue;
      close(go[1]);
      char c = 0;
      static_cast<void>(!read(go[0], &c, 1));
      const auto region = SharedMemoryRegion::Create(name, 64, {.replace_abandoned = true});
      c = region.ok() ? '1' : '0';
      static_cast<void>(!write(had[1], &c, 1));
      // Holds it until all have tried: the parent kills.
      while (true) pause();
    }
    close(go[1]);
    close(go[0]);
    int winners = 0;
    for (std::size_t i = 0; i < children.size(); ++i) {
      char c = 0;
      REQUIRE(read(had[0], &c, 1) == 1);
      winners += c == '1' ? 1 : 0;
    }
    CHECK(winners == 1);
    CHECK(Exists("/" + name));
    for (const pid_t child : children) {
      kill(child, SIGKILL);
      waitpid(child, nullptr, 0);
    }
    shm_unlink(("/" + name).c_str());
    close(had[0]);
    close(had[1]);
  }
}

TEST_CASE("a child of fork leaves its parent's region alone", "[shared_memory][fork]") {
  std::optional<SharedMemoryRegion> region = Region();
  const std::string key = region->key();
  const auto tensor = region->Allocate<float>(4);
  REQUIRE(tensor.ok());
  const pid_t child = fork();
  if (child == 0) {
    tensor->elements()[1] = 5;
    SharedMemoryRegion moved = *std::move(region);
    region.reset();
    moved = *SharedMemoryRegion::Create(Unique() + "_child", 64);
    const bool own = Exists(moved.key());
    _exit(own ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  CHECK(Exists(key));
  CHECK(tensor->elements()[1] == 5);  // the same memory
  region.reset();
  CHECK_FALSE(Exists(key));
}

TEST_CASE("a size of nothing, or of more than there is, is refused and leaves nothing behind",
          "[shared_memory][trap]") {
  const std::string name = Unique();
  CHECK(SharedMemoryRegion::Create(name, 0).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(SharedMemoryRegion::Create(name, std::numeric_limits<std::size_t>::max()).status().code() ==
        absl::StatusCode::kInvalidArgument);
  const absl::Status huge = SharedMemoryRegion::Create(name, std::size_t{1} << 60).status();
  INFO(huge.ToString());
  CHECK(huge.code() == absl::StatusCode::kResourceExhausted);
  CHECK_FALSE(Exists("/" + name));
}

TEST_CASE("tensors are aligned, side by side, and end where the region does", "[shared_memory]") {
  SharedMemoryRegion region = Region(256);
  const auto first = region.Allocate<std::uint8_t>(3);
  const auto second = region.Allocate<double>(8);
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->placement() == SharedMemoryPlacement{region.name(), 3, 0});
  CHECK(second->placement() == SharedMemoryPlacement{region.name(), 64, 64});
  CHECK(reinterpret_cast<std::uintptr_t>(second->elements().data()) % SharedMemoryRegion::kAlignment == 0);
  const absl::Status full = region.Allocate<float>(33).status();
  CHECK(full.code() == absl::StatusCode::kResourceExhausted);
  CHECK(Contains(full, "has 128 of 256 bytes left, too few for 33 elements of 4"));
  CHECK(region.Allocate<float>(32).ok());
  CHECK(region.Allocate<float>(0).ok());
  CHECK_FALSE(region.Allocate<float>(1).ok());
  CHECK_FALSE(region.Allocate<double>(std::numeric_limits<std::size_t>::max()).ok());
  region.Clear();
  CHECK(region.Allocate<float>(64).ok());
}

TEST_CASE("what lies in a region is an input by reference, checked as others are", "[shared_memory]") {
  std::optional<SharedMemoryRegion> region = Region();
  const auto tensor = region->Allocate<float>(6);
  REQUIRE(tensor.ok());
  InferRequest request = {tensor->Input("x", {2, 3})};
  CHECK(request.Validate().ok());
  CHECK(request.inputs()[0].datatype() == DataType::kFp32);
  const absl::Status here = request.Get<float>("x").status();
  CHECK(here.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(here, "lies in the shared-memory region"));
  CHECK(Contains(InferRequest{tensor->Input("x", {7})}.Validate(), "FP32 [7] does not take 24 bytes"));
  CHECK(Contains(InferRequest{InferInput("x", {"", 4, 0}, DataType::kFp32, {1})}.Validate(), "no name"));
  CHECK(Contains(InferRequest{InferInput("x", {"r", ~0ULL, 8}, DataType::kFp32, {1})}.Validate(), "beyond any"));
  CHECK_FALSE(InferRequest{InferInput("x", {"r", 7, 0}, DataType::kFp32, {1})}.Validate().ok());
  CHECK_FALSE(InferRequest{InferInput("x", {"r", 7, 0}, DataType::kBytes, {2})}.Validate().ok());
  // The memory outlives the region where an input refers to it.
  region.reset();
  tensor->elements()[5] = 1;
}

TEST_CASE("strings lie in a region as they travel", "[shared_memory]") {
  SharedMemoryRegion region = Region();
  const std::vector<std::string> words{"ab", "", "c"};
  const auto input = region.PlaceStrings("words", words, {3});
  REQUIRE(input.ok());
  CHECK(input->placement()->byte_size == 15);
  CHECK(InferRequest{*input}.Validate().ok());
  CHECK(region.bytes()[0] == std::byte{2});
  CHECK(region.bytes()[4] == std::byte{'a'});
  SharedMemoryRegion small = Region(8);
  CHECK(small.PlaceStrings("words", words, {3}).status().code() == absl::StatusCode::kResourceExhausted);
}

TEST_CASE("an output is read from where it was asked for, and nothing beyond it", "[shared_memory][trap]") {
  SharedMemoryRegion region = Region();
  const auto room = region.Allocate<float>(4);
  const auto bytes = region.Allocate<std::byte>(16);
  REQUIRE(room.ok());
  REQUIRE(bytes.ok());
  room->elements()[1] = 5;
  InferResult result;
  result.AddPlaced({"y", DataType::kFp32, {2}});
  result.AddPlaced({"large", DataType::kFp32, {5}});
  result.AddPlaced({"many", DataType::kBytes, {3}});
  result.AddPlaced({"huge", DataType::kFp32, {1LL << 62, 1LL << 62}});
  result.Add("here", std::vector<float>{1}, {1});
  const auto y = room->Read(result, "y");
  REQUIRE(y.ok());
  CHECK(y->size() == 2);
  CHECK(y->data() == room->elements().data());
  CHECK((*y)[1] == 5);
  CHECK(room->Read(result, "large").status().code() == absl::StatusCode::kInternal);
  CHECK(room->Read(result, "huge").status().code() == absl::StatusCode::kInternal);
  CHECK(room->Read(result, "many").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(room->Read(result, "here").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(room->Read(result, "none").status().code() == absl::StatusCode::kNotFound);
  CHECK(result.Get<float>("y").status().code() == absl::StatusCode::kFailedPrecondition);

  CHECK(bytes->ReadStrings(result, "many")->size() == 3);  // of zeros: three empty ones
  bytes->elements()[0] = std::byte{13};
  CHECK(bytes->ReadStrings(result, "many").status().code() == absl::StatusCode::kInternal);
  CHECK(bytes->ReadStrings(result, "y").status().code() == absl::StatusCode::kInvalidArgument);

  result.AddPlaced({"y", DataType::kFp32, {2}});
  CHECK_FALSE(result.status().ok());
}
