// SPDX-License-Identifier: Apache-2.0
//
// Text that nobody is to find in this process's memory later: keys and tokens.
#ifndef INFERWIRE_DETAIL_BASE_SECRET_H_
#define INFERWIRE_DETAIL_BASE_SECRET_H_

#include <cstddef>
#include <string>
#include <utility>

namespace inferwire {
inline namespace v0 {
namespace detail {

/// Overwrites all that it holds or has held, which compilers leave out where nobody reads it again.
inline void Wipe(std::string& text) {
  text.resize(text.capacity());  // the same memory: shorter texts may have left what was longer
  volatile char* const begin = text.data();
  for (std::size_t i = 0; i < text.size(); ++i) begin[i] = 0;
  text.clear();
}

/// A text that is wiped when it ends, and has no copies meanwhile.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string&& text) : text_(std::move(text)) { Wipe(text); }  // short ones are copied
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { Wipe(text_); }

  const std::string& text() const { return text_; }
  /// To be read into.
  char* data() { return text_.data(); }
  void Set(std::string&& text) {
    Wipe(text_);
    text_ = std::move(text);
    Wipe(text);
  }

 private:
  std::string text_;
};

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_DETAIL_BASE_SECRET_H_
