// SPDX-License-Identifier: Apache-2.0
//
// A contract without generated code, for calls of typed models that must not compile.
#ifndef INFERWIRE_TESTS_COMPILE_FAIL_TYPED_MODEL_H_
#define INFERWIRE_TESTS_COMPILE_FAIL_TYPED_MODEL_H_

#include <google/protobuf/empty.pb.h>
#include <inferwire/typed_model.h>

namespace acme {
using Message = google::protobuf::Empty;
struct Scorer {
  struct Stub {
    grpc::Status Score(grpc::ClientContext*, const Message&, Message*);
  };
};
struct Contract {
  using Infer = inferwire::Rpc<&Scorer::Stub::Score>;
  static absl::StatusOr<Message> Encode(const inferwire::InferRequest&);
  static absl::StatusOr<inferwire::InferResult> Decode(Message&&);
};
}  // namespace acme

using Classify = inferwire::TypedModel<inferwire::Outputs<inferwire::Tensor<"scores", float, -1, 10>>,
                                       inferwire::Inputs<inferwire::Tensor<"image", float, -1, 64>>>;

#endif  // INFERWIRE_TESTS_COMPILE_FAIL_TYPED_MODEL_H_
