// SPDX-License-Identifier: Apache-2.0
#include "fuzz/heap.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INFERWIRE_FUZZ_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define INFERWIRE_FUZZ_SANITIZED
#endif

namespace {

// Signed: what one thread takes another may give back.
thread_local std::ptrdiff_t now = 0;
thread_local std::ptrdiff_t most = 0;

void Taken(std::size_t size) {
  now += static_cast<std::ptrdiff_t>(size);
  if (now > most) most = now;
}
void GivenBack(std::size_t size) { now -= static_cast<std::ptrdiff_t>(size); }

}  // namespace

#ifdef INFERWIRE_FUZZ_SANITIZED

// The sanitizer keeps its own operator new, and tells of all memory.
#include <sanitizer/allocator_interface.h>

namespace {
void OnMalloc(const volatile void*, std::size_t size) { Taken(size); }
void OnFree(const volatile void* memory) {
  if (memory != nullptr) GivenBack(__sanitizer_get_allocated_size(memory));
}
[[maybe_unused]] const int installed = __sanitizer_install_malloc_and_free_hooks(OnMalloc, OnFree);
}  // namespace

#else

#include <malloc.h>

#include <new>

namespace {
void* Take(std::size_t size, std::size_t alignment) {
  if (size == 0) size = 1;
  void* const memory = alignment == 0 ? std::malloc(size)
                                      : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  Taken(malloc_usable_size(memory));
  return memory;
}
void GiveBack(void* memory) {
  if (memory == nullptr) return;
  GivenBack(malloc_usable_size(memory));
  std::free(memory);
}
}  // namespace

// Arrays and nothrow come here too.
void* operator new(std::size_t size) { return Take(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return Take(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { GiveBack(memory); }
void operator delete(void* memory, std::size_t) noexcept { GiveBack(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { GiveBack(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { GiveBack(memory); }

#endif

namespace inferwire_fuzz {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what);
  std::abort();
}
std::size_t HeapNow() { return static_cast<std::size_t>(now); }
void HeapForget() { most = now; }
std::size_t HeapMost() { return static_cast<std::size_t>(most); }

}  // namespace inferwire_fuzz
