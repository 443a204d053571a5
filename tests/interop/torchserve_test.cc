// SPDX-License-Identifier: Apache-2.0
//
// TorchServe's Open Inference package, which has a name of its own, heeds typed contents only and tells little.
#include <cstdint>
#include <string>
#include <vector>

#include "support/inference.h"
#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

TEST_CASE("TorchServe answers in its own dialect, with the numbers that came", "[.][interop][torchserve]") {
  const auto target = Told("INFERWIRE_TORCHSERVE");
  if (!target) return;
  const auto server = ConnectTo<OpenInferenceTorchServe>(*target);
  const auto model = server.GetModel("echo");
  CHECK(Answered(server.Live()));
  CHECK(Answered(server.Ready()));
  CHECK(Answered(model.Ready()));
  CHECK(server.Metadata().status().code() == absl::StatusCode::kUnimplemented);
  const ModelMetadata metadata = Answered(model.Metadata());
  CHECK(metadata.name == "echo");
  CHECK(metadata.inputs.empty());

  InferRequest request{{"bool", std::vector<bool>{true, false}, {2}},
                       {"int8", std::vector<std::int8_t>{-128, 127}, {2}},
                       {"int32", std::vector<std::int32_t>{INT32_MIN, INT32_MAX}, {2, 1}},
                       {"uint8", std::vector<std::uint8_t>{0, 255}, {2}},
                       {"uint32", std::vector<std::uint32_t>{0, UINT32_MAX}, {2}},
                       {"fp32", std::vector<float>{1.5f, -2}, {2}},
                       {"fp64", std::vector<double>{0.1, -1e300}, {2}}};
  const InferResult result = Answered(model.Infer(request));
  CHECK(result.model() == "echo");
  CHECK(Values<bool>(result, "bool") == std::vector<bool>{true, false});
  CHECK(Values<std::int8_t>(result, "int8") == std::vector<std::int8_t>{-128, 127});
  CHECK(Values<std::int32_t>(result, "int32") == std::vector<std::int32_t>{INT32_MIN, INT32_MAX});
  CHECK(result.Find("int32").value()->shape() == Shape{2, 1});
  CHECK(Values<std::uint8_t>(result, "uint8") == std::vector<std::uint8_t>{0, 255});
  CHECK(Values<std::uint32_t>(result, "uint32") == std::vector<std::uint32_t>{0, UINT32_MAX});
  CHECK(Values<float>(result, "fp32") == std::vector<float>{1.5f, -2});
  CHECK(Values<double>(result, "fp64") == std::vector<double>{0.1, -1e300});
}

TEST_CASE("TorchServe gives texts back in quotes", "[.][interop][torchserve]") {
  const auto target = Told("INFERWIRE_TORCHSERVE");
  if (!target) return;
  const auto model = ConnectTo<OpenInferenceTorchServe>(*target).GetModel("echo");
  const InferResult result = Answered(model.Infer({{"data", std::vector<std::string>{"Tom", ""}, {2}}}));
  CHECK(Values<std::string>(result, "data") == std::vector<std::string>{"\"Tom\"", "\"\""});
}

TEST_CASE("what has no typed form is not sent to TorchServe", "[.][interop][torchserve]") {
  const auto target = Told("INFERWIRE_TORCHSERVE");
  if (!target) return;
  const auto model = ConnectTo<OpenInferenceTorchServe>(*target).GetModel("echo");
  CallInfo info;
  const absl::Status half = model.Infer({{"h", std::vector<Float16>(2), {2}}}, {.info = &info}).status();
  CHECK(half.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(half, "FP16 exists only as raw contents"));
  CHECK(info.attempts.empty());
  CHECK(model.Infer({{"b", std::vector<BFloat16>(2), {2}}}).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("TorchServe's errors are told as they are", "[.][interop][torchserve]") {
  const auto target = Told("INFERWIRE_TORCHSERVE");
  if (!target) return;
  const auto server = ConnectTo<OpenInferenceTorchServe>(*target);
  const absl::Status no =
      server.GetModel("echo").Infer({{"ERROR", std::vector<std::int32_t>{1}, {1}}}, {.idempotent = false}).status();
  INFO(no);
  CHECK(no.code() == absl::StatusCode::kUnavailable);
  CHECK(Contains(no, "model said no"));
  const absl::Status nobody = server.GetModel("nobody").Infer({{"x", std::vector<float>{1}, {1}}}).status();
  INFO(nobody);
  CHECK(nobody.code() == absl::StatusCode::kInternal);
  CHECK(server.GetModel("echo")
            .Infer({{"SLEEP_S", std::vector<float>{1}, {1}}}, {.timeout = absl::Milliseconds(300)})
            .status()
            .code() == absl::StatusCode::kDeadlineExceeded);
}
