// SPDX-License-Identifier: Apache-2.0
//
// Names, shapes and sizes as error messages spell them: short whatever a caller sent.
#ifndef INFERWIRE_EXAMPLES_SERVER_TEXT_H_
#define INFERWIRE_EXAMPLES_SERVER_TEXT_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace inferwire::examples {

/// 'text' in quotes, printable, and cut where it is long: an error travels in a header of limited size.
std::string Quote(std::string_view text);

/// [1,64]
std::string ShapeText(std::span<const std::int64_t> shape);

/// a, b and c
std::string List(const std::vector<std::string>& names);

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_TEXT_H_
