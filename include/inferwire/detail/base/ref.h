// SPDX-License-Identifier: Apache-2.0
//
// Intrusive reference counts: one allocation holds a call, its result and their count.
#ifndef INFERWIRE_DETAIL_BASE_REF_H_
#define INFERWIRE_DETAIL_BASE_REF_H_

#include <atomic>
#include <concepts>
#include <cstdint>
#include <utility>

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Base of objects held by Ref. Inherited virtually, so that a call that is also a future's state has one count.
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  virtual ~RefCounted() = default;

  /// Whether there is one reference: nobody else can make another then.
  bool Unique() const noexcept { return whole_->count_.load(std::memory_order_acquire) == 1; }
  void AddRef() noexcept { whole_->count_.fetch_add(1, std::memory_order_relaxed); }
  void Release() noexcept {
    if (whole_->count_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete whole_;
  }
  /// It is a part of `whole`, which ends it: references to either keep both. Before there are any to it.
  void BePartOf(RefCounted& whole) noexcept { whole_ = &whole; }

 private:
  std::atomic<std::uint32_t> count_{0};
  RefCounted* whole_ = this;
};

/// Owns one reference. Not safe to change from two threads at once; the object's count is.
template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) {
    if (object_ != nullptr) object_->AddRef();
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <std::derived_from<T> U>
  Ref(Ref<U> other) : Ref(other.get()) {}  // NOLINT: meant to be implicit
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->Release();
  }

  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

template <class T, class... Args>
Ref<T> MakeRef(Args&&... args) {
  return Ref<T>(new T(std::forward<Args>(args)...));
}

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_REF_H_
