// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/grpcpp.h>
#include <inferwire/inferwire.h>

#include <inferwire/contract/open_inference.h>
#include <inferwire/contract/simple.h>

#include <cstdio>
#include <string>

#if __has_include(<Eigen/Core>)
#include <inferwire/eigen.h>
static_assert(requires(Eigen::VectorXf vector) { inferwire::Lend("x", vector); });
#endif
#if __has_include(<dlpack/dlpack.h>)
#include <inferwire/dlpack.h>
#endif

#include "acme/scorer.grpc.pb.h"
#include "inferwire/inference.grpc.pb.h"

namespace {

class Service final : public acme::v1::Scorer::Service {
  grpc::Status Score(grpc::ServerContext*, const acme::v1::ScoreRequest* request, acme::units::Score* score) override {
    for (const float value : request->row()) score->set_value(score->value() + value);
    return grpc::Status();
  }
};

}  // namespace

int main() {
  Service service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();

  const auto client = inferwire::Client::Create(
      {.targets = {"127.0.0.1:" + std::to_string(port)}, .credentials = inferwire::Insecure()});
  if (!client.ok()) return 1;
  acme::v1::ScoreRequest request;
  request.add_row(1.5f);
  request.add_row(2.5f);
  const auto score = client->Call<&acme::v1::Scorer::Stub::Score>(request);
  if (!score.ok() || score->value() != 4.0f) return 2;

  static_assert(inferwire::Contract<inferwire::OpenInference> && inferwire::Contract<inferwire::Simple>);
  std::printf("inferwire %s: %s says %g\n", INFERWIRE_VERSION, "acme.v1.Scorer", static_cast<double>(score->value()));
  return 0;
}
