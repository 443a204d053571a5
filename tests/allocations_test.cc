// SPDX-License-Identifier: Apache-2.0
//
// What a request costs in heap memory before its contract sees it. The sanitizers keep their own operator new.
#include <cstddef>
#include <cstdlib>
#include <new>
#include <span>
#include <vector>

#include "inferwire/infer_request.h"
#include "support/catch.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INFERWIRE_TESTS_SANITIZED
#endif
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(INFERWIRE_TESTS_SANITIZED)

namespace {
thread_local std::size_t allocations = 0;

template <class F>
std::size_t AllocationsOf(F f) {
  const std::size_t before = allocations;
  f();
  return allocations - before;
}
}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

using inferwire::InferInput;
using inferwire::InferRequest;
using inferwire::Shape;

TEST_CASE("a request of up to two lent tensors takes no heap memory, nor does its check", "[tensor]") {
  const std::vector<float> values(16);
  const std::span<const float> lent(values);
  CHECK(AllocationsOf([] { std::vector<int> counted(1); }) == 1);
  bool valid = false;
  CHECK(AllocationsOf([&] {
          const InferRequest request = {{"x", lent, {1, 16}}};
          valid = request.Validate().ok();
        }) == 0);
  CHECK(valid);
  CHECK(AllocationsOf([&] {
          InferRequest request = {{"INPUT0", lent, {1, 2, 2, 4}}, {"INPUT1", lent, {16}}};
          const InferRequest moved = std::move(request);
          valid = moved.Validate().ok() && moved.Get<float>("INPUT1").ok();
        }) == 0);
  CHECK(valid);
}

TEST_CASE("a shape takes heap memory from its fifth dimension on", "[tensor]") {
  CHECK(AllocationsOf([] { const Shape shape{1, 2, 3, 4}; }) == 0);
  CHECK(AllocationsOf([] { const Shape shape{1, 2, 3, 4, 5}; }) == 1);
}

TEST_CASE("a moved-in container costs what holds it, and its elements stay where they are", "[tensor]") {
  std::vector<float> values(1024);
  const void* const data = values.data();
  const void* sent = nullptr;
  CHECK(AllocationsOf([&] {
          const InferInput input("x", std::move(values), {1024});
          sent = input.bytes().data();
        }) == 1);
  CHECK(sent == data);
}

#endif
