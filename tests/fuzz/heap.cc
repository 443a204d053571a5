// SPDX-License-Identifier: Apache-2.0
#include "fuzz/heap.h"

#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <new>

namespace {
// Signed: what one thread takes another may give back.
thread_local std::ptrdiff_t now = 0;
thread_local std::ptrdiff_t most = 0;

void* Take(std::size_t size, std::size_t alignment = 0) {
  if (size == 0) size = 1;
  void* const memory = alignment == 0 ? std::malloc(size)
                                      : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) std::abort();
  now += static_cast<std::ptrdiff_t>(malloc_usable_size(memory));
  if (now > most) most = now;
  return memory;
}
void GiveBack(void* memory) {
  if (memory == nullptr) return;
  now -= static_cast<std::ptrdiff_t>(malloc_usable_size(memory));
  std::free(memory);
}
}  // namespace

void* operator new(std::size_t size) { return Take(size); }
void* operator new[](std::size_t size) { return Take(size); }
void* operator new(std::size_t size, std::align_val_t alignment) { return Take(size, std::size_t(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return Take(size, std::size_t(alignment)); }
void operator delete(void* memory) noexcept { GiveBack(memory); }
void operator delete[](void* memory) noexcept { GiveBack(memory); }
void operator delete(void* memory, std::size_t) noexcept { GiveBack(memory); }
void operator delete[](void* memory, std::size_t) noexcept { GiveBack(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { GiveBack(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { GiveBack(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { GiveBack(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { GiveBack(memory); }

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
