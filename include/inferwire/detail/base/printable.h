// SPDX-License-Identifier: Apache-2.0
//
// Text of others that is to be shown: what would steer a terminal, break a line of a log or pass for other text is
// spelled out.
#ifndef INFERWIRE_DETAIL_BASE_PRINTABLE_H_
#define INFERWIRE_DETAIL_BASE_PRINTABLE_H_

#include <string>
#include <string_view>

#include "inferwire/detail/base/form.h"

namespace inferwire {
inline namespace v0 {
namespace detail {

/// One line of UTF-8 that any terminal or log shows as what it is: \n, \r, \t, \x1b for control characters and for
/// bytes that are no UTF-8, \u{202e} for the rest. Everything else stays, the backslash too: what was printable comes
/// back unchanged, and twice is once.
INFERWIRE_DECL std::string Printable(std::string_view text);

}  // namespace detail
}  // namespace v0
}  // namespace inferwire

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#include "inferwire/detail/impl/printable.h"  // IWYU pragma: keep
#endif

#endif  // INFERWIRE_DETAIL_BASE_PRINTABLE_H_
