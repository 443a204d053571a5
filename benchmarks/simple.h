// SPDX-License-Identifier: Apache-2.0
//
// The benchmarks' small service, called with sixteen floats: by its generated stub, or by a Client.
#ifndef INFERWIRE_BENCHMARKS_SIMPLE_H_
#define INFERWIRE_BENCHMARKS_SIMPLE_H_

#include <grpcpp/grpcpp.h>
#include <inferwire/client.h>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "inferwire/inference.grpc.pb.h"
#include "measure.h"

namespace bench {

using Stub = inference::Inference::Stub;

inline inference::Request SmallRequest() {
  inference::Request request;
  for (int i = 0; i < 16; ++i) request.add_input(0.5f);
  return request;
}

struct Raw : Way {
  explicit Raw(const Aim& aim)
      : stub(inference::Inference::NewStub(grpc::CreateChannel(aim.target, grpc::InsecureChannelCredentials()))) {}
  static void Deadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  }
  std::unique_ptr<Stub> stub;
};

struct Ours : Way {
  explicit Ours(const Aim& aim, std::optional<inferwire::HedgePolicy> hedge = std::nullopt,
                inferwire::PoolPolicy pool = {})
      : client(*inferwire::Client::Create(
            {.targets = {aim.target}, .credentials = inferwire::Insecure(), .hedge = std::move(hedge), .pool = pool})) {
  }
  inferwire::Client client;
};

}  // namespace bench

#endif  // INFERWIRE_BENCHMARKS_SIMPLE_H_
