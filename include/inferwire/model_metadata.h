// SPDX-License-Identifier: Apache-2.0
//
// What servers and models say of themselves, whatever the contract.
#ifndef INFERWIRE_MODEL_METADATA_H_
#define INFERWIRE_MODEL_METADATA_H_

#include <string>
#include <vector>

#include "inferwire/tensor.h"

namespace inferwire {
inline namespace v0 {

struct ServerMetadata {
  std::string name;
  std::string version;
  std::vector<std::string> extensions;
};

/// What a model takes or gives under one name. In the shape, -1 is any size.
struct TensorMetadata {
  std::string name;
  DataType datatype = DataType::kBytes;
  Shape shape;
};

struct ModelMetadata {
  std::string name;
  std::vector<std::string> versions;
  std::string platform;
  std::vector<TensorMetadata> inputs;
  std::vector<TensorMetadata> outputs;
};

}  // namespace v0
}  // namespace inferwire

#endif  // INFERWIRE_MODEL_METADATA_H_
