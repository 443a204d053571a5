// SPDX-License-Identifier: Apache-2.0
//
// Reads a whole file, or says which one could not be read.
#ifndef INFERWIRE_EXAMPLES_SERVER_FILE_H_
#define INFERWIRE_EXAMPLES_SERVER_FILE_H_

#include <absl/status/statusor.h>

#include <string>

namespace inferwire::examples {

/// NOT_FOUND when it cannot be opened, DATA_LOSS when reading breaks off.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_FILE_H_
