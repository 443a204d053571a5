// SPDX-License-Identifier: Apache-2.0
//
// absl::Status as gRPC sends it.
#ifndef INFERWIRE_EXAMPLES_SERVER_STATUS_H_
#define INFERWIRE_EXAMPLES_SERVER_STATUS_H_

#include <absl/status/status.h>
#include <grpcpp/grpcpp.h>

#include <string>

namespace inferwire::examples {

inline grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status();
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_STATUS_H_
