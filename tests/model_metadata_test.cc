// SPDX-License-Identifier: Apache-2.0
#include "inferwire/model_metadata.h"

#include "support/catch.h"

TEST_CASE("metadata is plain data", "[tensor]") {
  const inferwire::ModelMetadata model{.name = "digits",
                                       .versions = {"1"},
                                       .platform = "test",
                                       .inputs = {{"image", inferwire::DataType::kFp32, {-1, 64}}},
                                       .outputs = {}};
  CHECK(model.inputs[0].shape.ToString() == "[-1,64]");
  CHECK(inferwire::DataTypeName(model.inputs[0].datatype) == "FP32");
}
