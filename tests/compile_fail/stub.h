// SPDX-License-Identifier: Apache-2.0
//
// What protoc would make of a service with a method of each kind, for files that must not compile.
#ifndef INFERWIRE_TESTS_COMPILE_FAIL_STUB_H_
#define INFERWIRE_TESTS_COMPILE_FAIL_STUB_H_

#include <google/protobuf/struct.pb.h>
#include <inferwire/client.h>

namespace acme {
using Request = google::protobuf::Value;
using Response = google::protobuf::Value;
struct Scorer {
  struct Stub {
    grpc::Status Unary(grpc::ClientContext*, const Request&, Response*);
    std::unique_ptr<grpc::ClientReader<Response>> Down(grpc::ClientContext*, const Request&);
    std::unique_ptr<grpc::ClientWriter<Request>> Up(grpc::ClientContext*, Response*);
    std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> Both(grpc::ClientContext*);
  };
};
}  // namespace acme

#endif  // INFERWIRE_TESTS_COMPILE_FAIL_STUB_H_
