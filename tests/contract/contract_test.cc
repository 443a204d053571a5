// SPDX-License-Identifier: Apache-2.0
#include "inferwire/contract/contract.h"

#include "inferwire/inference.grpc.pb.h"
#include "support/catch.h"

namespace {
using Stub = inference::Inference::Stub;

struct Good {
  using Infer = inferwire::Rpc<&Stub::RunInference>;
  static absl::StatusOr<inference::Request> Encode(const inferwire::InferRequest&) { return inference::Request(); }
  static absl::StatusOr<inferwire::InferResult> Decode(inference::Response&&) { return inferwire::InferResult(); }
};
struct Streaming : Good {
  using StreamInfer = inferwire::Rpc<&Stub::StreamInference>;
};
struct StreamsUnary : Good {
  using StreamInfer = inferwire::Rpc<&Stub::RunInference>;
};
struct NoMethod {
  static absl::StatusOr<inference::Request> Encode(const inferwire::InferRequest&) { return inference::Request(); }
  static absl::StatusOr<inferwire::InferResult> Decode(inference::Response&&) { return inferwire::InferResult(); }
};
struct StreamMethod : Good {
  using Infer = inferwire::Rpc<&Stub::StreamInference>;
};
struct PlainEncode : Good {
  static inference::Request Encode(const inferwire::InferRequest&) { return {}; }
};
struct NoDecode {
  using Infer = inferwire::Rpc<&Stub::RunInference>;
  static absl::StatusOr<inference::Request> Encode(const inferwire::InferRequest&) { return inference::Request(); }
};

static_assert(inferwire::Contract<Good> && !inferwire::StreamingContract<Good>);
static_assert(inferwire::StreamingContract<Streaming>);
static_assert(!inferwire::StreamingContract<StreamsUnary>);
static_assert(!inferwire::NamesInfer<NoMethod> && !inferwire::NamesInfer<StreamMethod>);
static_assert(!inferwire::EncodesRequests<PlainEncode> && inferwire::NamesInfer<PlainEncode>);
static_assert(!inferwire::DecodesResponses<NoDecode> && inferwire::EncodesRequests<NoDecode>);
static_assert(!inferwire::Contract<int>);
}  // namespace

TEST_CASE("a contract is a type with a method, an Encode and a Decode", "[contract]") {
  CHECK(inferwire::Contract<Good>);
  CHECK_FALSE(inferwire::Contract<NoDecode>);
}
