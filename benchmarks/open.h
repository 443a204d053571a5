// SPDX-License-Identifier: Apache-2.0
//
// The benchmarks' Open Inference models, called by the generated stub as its users write it, or by a Model.
#ifndef INFERWIRE_BENCHMARKS_OPEN_H_
#define INFERWIRE_BENCHMARKS_OPEN_H_

#include <absl/time/time.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <inferwire/contract/open_inference.h>
#include <inferwire/inference.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "measure.h"

namespace bench {

namespace open = inferwire::open_inference;

/// The stub's default arguments, but for the size of answers, which is 4 MiB at most without.
struct RawOpen : Way {
  explicit RawOpen(const Aim& aim) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    channel = grpc::CreateCustomChannel(aim.target, grpc::InsecureChannelCredentials(), arguments);
    method.emplace("/inference.GRPCInferenceService/ModelInfer", grpc::internal::RpcMethod::NORMAL_RPC, channel);
  }
  static void Add(open::ModelInferRequest& request, const std::string& name, std::span<const float> input) {
    Describe(request, name, input);
    request.add_raw_input_contents(input.data(), input.size_bytes());
  }
  static void Describe(open::ModelInferRequest& request, const std::string& name, std::span<const float> input) {
    open::ModelInferRequest::InferInputTensor* const tensor = request.add_inputs();
    tensor->set_name(name);
    tensor->set_datatype("FP32");
    tensor->add_shape(1);
    tensor->add_shape(static_cast<std::int64_t>(input.size()));
  }
  open::ModelInferResponse Infer(const open::ModelInferRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
    open::ModelInferResponse response;
    Expect(grpc::internal::BlockingUnaryCall(channel.get(), *method, &context, request, &response));
    return response;
  }
  // What a generated stub holds, and its calls do: ours has a package of its own in its paths, which no server knows.
  std::shared_ptr<grpc::Channel> channel;
  std::optional<grpc::internal::RpcMethod> method;
};

struct OursOpen : Way {
  OursOpen(const Aim& aim, std::string name, bool over_stream = false)
      : model(inferwire::InferenceClient<inferwire::OpenInference>::Create(
                  {.targets = {aim.target}, .credentials = inferwire::Insecure(), .timeout = absl::Minutes(1)})
                  ->GetModel(std::move(name), inferwire::ModelOptions{.check = false, .over_stream = over_stream})) {}
  inferwire::InferResult Infer(inferwire::InferRequest request) {
    auto result = model.Infer(std::move(request));
    Expect(result.status());
    return *std::move(result);
  }
  inferwire::Model model;
};

}  // namespace bench

#endif  // INFERWIRE_BENCHMARKS_OPEN_H_
