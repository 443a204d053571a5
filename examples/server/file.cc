// SPDX-License-Identifier: Apache-2.0
#include "server/file.h"

#include <absl/status/status.h>
#include <absl/strings/str_cat.h>

#include <fstream>
#include <ios>
#include <iterator>

#include "server/text.h"

namespace inferwire::examples {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot open the file ", Quote(path)));
  // A directory opens, and fails when it is read.
  if (file.peek() == std::ifstream::traits_type::eof() && !file.eof()) {
    return absl::NotFoundError(absl::StrCat("cannot read ", Quote(path), ": expected a file"));
  }
  file.clear();
  std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) return absl::DataLossError(absl::StrCat("reading the file ", Quote(path), " broke off"));
  return content;
}

}  // namespace inferwire::examples
