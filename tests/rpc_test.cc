// SPDX-License-Identifier: Apache-2.0
#include "inferwire/rpc.h"

#include <string>
#include <type_traits>

#include "inferwire/contract/open_inference.grpc.pb.h"
#include "inferwire/inference.grpc.pb.h"
#include "support/catch.h"

using Inference = inference::Inference::Stub;
using inferwire::Rpc;
using inferwire::RpcKind;

static_assert(std::is_same_v<Rpc<&Inference::RunInference>::Request, inference::Request>);
static_assert(std::is_same_v<Rpc<&Inference::RunInference>::Response, inference::Response>);
static_assert(Rpc<&Inference::RunInference>::kKind == RpcKind::kUnary);
static_assert(Rpc<&Inference::StreamInference>::kKind == RpcKind::kServerStream);
static_assert(Rpc<&Inference::UploadInference>::kKind == RpcKind::kClientStream);
static_assert(Rpc<&Inference::Converse>::kKind == RpcKind::kBidiStream);
static_assert(inferwire::UnaryRpc<Rpc<&Inference::RunInference>> && !inferwire::UnaryRpc<Rpc<&Inference::Converse>>);
static_assert(!inferwire::RpcType<int>);

namespace {
// The path as protobuf's own descriptors have it.
template <class R>
std::string DescribedPath(const google::protobuf::FileDescriptor* file, const std::string& method) {
  const google::protobuf::ServiceDescriptor* service = file->service(0);
  REQUIRE(service->FindMethodByName(method) != nullptr);
  CHECK(std::string(service->FindMethodByName(method)->input_type()->full_name()) ==
        std::string(R::Request::descriptor()->full_name()));
  CHECK(std::string(service->FindMethodByName(method)->output_type()->full_name()) ==
        std::string(R::Response::descriptor()->full_name()));
  return "/" + std::string(service->full_name()) + "/" + method;
}
}  // namespace

TEST_CASE("a method's path is the one in its descriptor, for every kind", "[rpc]") {
  const auto* file = inference::Request::descriptor()->file();
  CHECK(Rpc<&Inference::RunInference>::path() == DescribedPath<Rpc<&Inference::RunInference>>(file, "RunInference"));
  CHECK(Rpc<&Inference::StreamInference>::path() ==
        DescribedPath<Rpc<&Inference::StreamInference>>(file, "StreamInference"));
  CHECK(Rpc<&Inference::UploadInference>::path() ==
        DescribedPath<Rpc<&Inference::UploadInference>>(file, "UploadInference"));
  CHECK(Rpc<&Inference::Converse>::path() == DescribedPath<Rpc<&Inference::Converse>>(file, "Converse"));
  CHECK(Rpc<&Inference::Converse>::path() ==
        "/" + std::string(inference::Inference::service_full_name()) + "/Converse");
}

TEST_CASE("a package of several parts becomes a dotted service name", "[rpc]") {
  using Stub = inferwire::open_inference::GRPCInferenceService::Stub;
  CHECK(Rpc<&Stub::ModelInfer>::path() == "/inferwire.open_inference.GRPCInferenceService/ModelInfer");
}

TEST_CASE("a service's public name can be said where it differs", "[rpc]") {
  using Stub = inferwire::open_inference::GRPCInferenceService::Stub;
  CHECK(Rpc<&Stub::ModelInfer, "inference.GRPCInferenceService">::path() ==
        "/inference.GRPCInferenceService/ModelInfer");
}
