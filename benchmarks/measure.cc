// SPDX-License-Identifier: Apache-2.0
//
// Counts every heap allocation of the process, whoever makes it, and reads what the system says of its memory.
#include "measure.h"

#include <fstream>
#include <string>

namespace {
std::atomic<std::uint64_t> allocations{0};
}

#if defined(__GLIBC__)
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* malloc(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(old, size);
}
}
#endif

namespace bench {
namespace {

double StatusBytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name;) {
    double kibibytes = 0;
    if (name == field + ":" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

}  // namespace

std::uint64_t Allocations() { return allocations.load(std::memory_order_relaxed); }
double ResidentBytes() { return StatusBytes("VmRSS"); }
double PeakBytes() { return StatusBytes("VmHWM"); }
void ForgetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace bench
