// SPDX-License-Identifier: Apache-2.0
#include "api/door.grpc.pb.h"
#include "inferwire/inference.pb.h"

// Generated code is known by its names in the whole process, whoever brings it.
extern "C" __attribute__((visibility("default"))) int Teeth(int teeth) {
  acme::door::Open open;
  open.mutable_key()->set_teeth(teeth);
  inference::Request request;
  request.set_model(open.GetTypeName() == "acme.door.Open" ? "a" : "");
  return open.key().teeth() + static_cast<int>(request.model().size());
}
