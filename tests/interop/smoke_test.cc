// SPDX-License-Identifier: Apache-2.0
//
// Each real server is there and answers. Run by tests/interop/run, which installs them and says where they are.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/client.h"
#include "inferwire/contract/open_inference.h"
#include "inferwire/inference.h"
#include "support/interop.h"
#include "support/open_inference.h"

using inferwire::DataType;
using inferwire::InferenceClient;
using inferwire::InferResult;
using inferwire::OpenInference;
using namespace inferwire_test;  // NOLINT

namespace {

InferenceClient<OpenInference> ConnectTo(const std::string& target,
                                         inferwire::Credentials credentials = inferwire::Insecure()) {
  auto client = InferenceClient<OpenInference>::Create(
      {.targets = {target}, .credentials = std::move(credentials), .timeout = absl::Seconds(60)});
  REQUIRE(client.ok());
  return *std::move(client);
}

template <class T>
T Answered(absl::StatusOr<T> reply) {
  INFO(reply.status());
  REQUIRE(reply.ok());
  return *std::move(reply);
}

void CheckReady(const InferenceClient<OpenInference>& server, const std::string& model) {
  CHECK(Answered(server.Live()));
  CHECK(Answered(server.Ready()));
  CHECK(Answered(server.GetModel(model).Ready()));
}

template <class T>
std::vector<T> Output(const InferResult& result, std::string_view name) {
  const auto values = Answered(result.Get<T>(name));
  return {values.begin(), values.end()};
}

void CheckAddSub(const InferenceClient<OpenInference>& server, inferwire::CallOptions options = {}) {
  const std::vector<std::int32_t> a = {1, 2, 3, 4}, b = {10, 20, 30, 40};
  const InferResult result = Answered(server.GetModel("add_sub").Infer(
      {{"INPUT0", std::span(a), {1, 4}}, {"INPUT1", std::span(b), {1, 4}}}, std::move(options)));
  CHECK(Output<std::int32_t>(result, "OUTPUT0") == std::vector<std::int32_t>{11, 22, 33, 44});
  CHECK(Output<std::int32_t>(result, "OUTPUT1") == std::vector<std::int32_t>{-9, -18, -27, -36});
}

/// A line of what scikit-learn says: a digit's pixels, its class and the classes' probabilities.
struct Digit {
  std::vector<float> pixels;
  std::int64_t predicted = -1;
  std::vector<double> probabilities;
};

std::vector<Digit> Digits(const std::string& path) {
  std::vector<Digit> digits;
  std::ifstream file(path);
  for (std::string line, field; std::getline(file, line);) {
    Digit& digit = digits.emplace_back();
    std::istringstream fields(line);
    for (int i = 0; std::getline(fields, field, ','); ++i) {
      if (i < 64) {
        digit.pixels.push_back(std::stof(field));
      } else if (i == 64) {
        digit.predicted = std::stoll(field);
      } else {
        digit.probabilities.push_back(std::stod(field));
      }
    }
  }
  return digits;
}

std::vector<float> PixelsOf(const std::vector<Digit>& digits) {
  std::vector<float> pixels;
  for (const Digit& digit : digits) pixels.insert(pixels.end(), digit.pixels.begin(), digit.pixels.end());
  return pixels;
}

}  // namespace

TEST_CASE("Triton answers: it lives, tells what it is, adds and gives back every datatype", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON");
  if (!target) return;
  const auto server = ConnectTo(*target);
  CheckReady(server, "add_sub");
  const inferwire::ServerMetadata metadata = Answered(server.Metadata());
  CHECK(metadata.name == "triton");
  CHECK_FALSE(metadata.version.empty());
  const inferwire::ModelMetadata model = Answered(server.GetModel("add_sub").Metadata());
  REQUIRE(model.inputs.size() == 2);
  CHECK(model.inputs[0].name == "INPUT0");
  CHECK(model.inputs[0].datatype == DataType::kInt32);
  CHECK(model.inputs[0].shape == inferwire::Shape{-1, 4});
  CheckAddSub(server);
  for (const auto& [name, type] : std::vector<std::pair<std::string, DataType>>{{"bool", DataType::kBool},
                                                                                {"uint8", DataType::kUint8},
                                                                                {"uint16", DataType::kUint16},
                                                                                {"uint32", DataType::kUint32},
                                                                                {"uint64", DataType::kUint64},
                                                                                {"int8", DataType::kInt8},
                                                                                {"int16", DataType::kInt16},
                                                                                {"int32", DataType::kInt32},
                                                                                {"int64", DataType::kInt64},
                                                                                {"fp16", DataType::kFp16},
                                                                                {"bf16", DataType::kBf16},
                                                                                {"fp32", DataType::kFp32},
                                                                                {"fp64", DataType::kFp64},
                                                                                {"bytes", DataType::kBytes}}) {
    INFO(name);
    const inferwire::ModelMetadata identity = Answered(server.GetModel("identity_" + name).Metadata());
    REQUIRE(identity.inputs.size() == 1);
    CHECK(identity.inputs[0].datatype == type);
  }
  const std::vector<float> numbers = {0.5f, -0.0f, 1e30f};
  CHECK(Output<float>(
            Answered(server.GetModel("identity_fp32").Infer({{"INPUT0", std::span<const float>(numbers), {1, 3}}})),
            "OUTPUT0") == numbers);
  const std::vector<std::string> texts = {"Tom", "", std::string("\0\xff", 2)};
  const InferResult back =
      Answered(server.GetModel("identity_bytes").Infer({{"INPUT0", std::vector<std::string>(texts), {3, 1}}}));
  const auto views = Answered(back.Get<std::string_view>("OUTPUT0"));
  CHECK(std::vector<std::string>(views.begin(), views.end()) == texts);
}

TEST_CASE("the other Tritons answer, each by its own rule", "[.][interop][triton]") {
  for (const char* variable : {"INFERWIRE_TRITON_FIRST", "INFERWIRE_TRITON_SECOND", "INFERWIRE_TRITON_AGE"}) {
    if (const auto target = Told(variable)) CheckAddSub(ConnectTo(*target));
  }
  if (const auto target = Told("INFERWIRE_TRITON_RESTRICTED")) {
    const auto server = ConnectTo(*target);
    CHECK(Answered(server.Live()));
    CHECK(Answered(server.GetModel("add_sub").Metadata()).inputs.size() == 2);
    const std::vector<std::int32_t> row = {1, 2, 3, 4};
    const auto refused =
        server.GetModel("add_sub").Infer({{"INPUT0", std::span(row), {1, 4}}, {"INPUT1", std::span(row), {1, 4}}});
    INFO(refused.status());
    CHECK(refused.status().code() == absl::StatusCode::kUnavailable);
    CheckAddSub(server, {.metadata = {{"triton-grpc-protocol-infer", "letmein"}}});
  }
  if (const auto target = Told("INFERWIRE_TRITON_MTLS")) {
    const std::string folder = *Told("INFERWIRE_TRITON_MTLS_CERTIFICATES");
    CheckAddSub(ConnectTo(*target, inferwire::Tls({.root_certificates_file = folder + "/ca.pem",
                                                   .certificate_chain_file = folder + "/client.pem",
                                                   .private_key_file = folder + "/client.key"})));
    const auto stranger = ConnectTo(*target, inferwire::Tls({.root_certificates_file = folder + "/ca.pem"})).Live();
    CHECK(stranger.status().code() == absl::StatusCode::kUnavailable);
  }
}

TEST_CASE("the ONNX models answer: a file's type, an upright line, silence", "[.][interop][onnx]") {
  const auto target = Told("INFERWIRE_ONNX");
  if (!target) return;
  const auto server = ConnectTo(*target);
  CheckReady(server, "silero_vad");
  const auto types = Output<float>(
      Answered(server.GetModel("magika").Infer({{"bytes", std::vector<std::int32_t>(2048, 256), {1, 2048}}})),
      "target_label");
  REQUIRE(types.size() == 214);
  const auto sides = Output<float>(
      Answered(server.GetModel("ocr_cls").Infer({{"x", std::vector<float>(3 * 48 * 192, 1.0f), {1, 3, 48, 192}}})),
      "prob");
  REQUIRE(sides.size() == 2);
  CHECK(std::abs(sides[0] + sides[1] - 1) < 1e-4f);
  inferwire::InferRequest silence{{"AUDIO", std::vector<float>(512), {1, 512}}};
  silence.set_parameter("sequence_id", std::int64_t{7});
  silence.set_parameter("sequence_start", true);
  silence.set_parameter("sequence_end", true);
  const auto voice = Output<float>(Answered(server.GetModel("silero_vad_sequence").Infer(std::move(silence))), "PROB");
  REQUIRE(voice.size() == 1);
  CHECK(voice[0] < 0.3f);
}

TEST_CASE("MLServer says of every digit what scikit-learn says", "[.][interop][mlserver]") {
  const auto target = Told("INFERWIRE_MLSERVER");
  if (!target) return;
  const auto server = ConnectTo(*target);
  CheckReady(server, "digits");
  CHECK(Answered(server.Metadata()).version == "1.7.1");
  const inferwire::ModelMetadata model = Answered(server.GetModel("digits").Metadata());
  REQUIRE(model.inputs.size() == 1);
  CHECK(model.inputs[0].name == "predict");
  CHECK(model.inputs[0].shape == inferwire::Shape{-1, 64});
  const std::vector<Digit> digits = Digits(*Told("INFERWIRE_MLSERVER_EXPECTED"));
  REQUIRE(digits.size() == 1797);
  const std::vector<float> pixels = PixelsOf(digits);
  inferwire::InferRequest request{{"predict", std::span<const float>(pixels), {1797, 64}}};
  request.set_outputs({"predict", "predict_proba"});
  const InferResult result = Answered(server.GetModel("digits").Infer(std::move(request)));
  const auto classes = Output<std::int64_t>(result, "predict");
  const auto probabilities = Output<double>(result, "predict_proba");
  REQUIRE(classes.size() == 1797);
  REQUIRE(probabilities.size() == 17970);
  std::size_t same = 0, close = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    same += classes[i] == digits[i].predicted ? 1 : 0;
    for (std::size_t c = 0; c < 10; ++c) {
      close += std::abs(probabilities[10 * i + c] - digits[i].probabilities[c]) < 1e-6 ? 1 : 0;
    }
  }
  CHECK(same == 1797);
  CHECK(close == 17970);
}

TEST_CASE("KServe says of every digit what scikit-learn says", "[.][interop][kserve]") {
  const auto target = Told("INFERWIRE_KSERVE");
  if (!target) return;
  const auto server = ConnectTo(*target);
  CheckReady(server, "digits");
  CHECK(Answered(server.Metadata()).name == "kserve");
  const std::vector<Digit> digits = Digits(*Told("INFERWIRE_KSERVE_EXPECTED"));
  REQUIRE(digits.size() == 1797);
  std::vector<std::int64_t> expected;
  for (const Digit& digit : digits) expected.push_back(digit.predicted);
  const std::vector<float> pixels = PixelsOf(digits);
  const InferResult result =
      Answered(server.GetModel("digits").Infer({{"predict", std::span<const float>(pixels), {1797, 64}}}));
  CHECK(Output<std::int64_t>(result, "predict") == expected);
}

TEST_CASE("TorchServe answers under its own service's name", "[.][interop][torchserve]") {
  const auto target = Told("INFERWIRE_TORCHSERVE");
  if (!target) return;
  using Stub = inferwire::open_inference::GRPCInferenceService::Stub;
  const inferwire::Client client = ConnectTo(*target).client();
  const auto live = Answered(
      client.Call<inferwire::Rpc<&Stub::ServerLive, "org.pytorch.serve.grpc.openinference.GRPCInferenceService">>({}));
  CHECK(live.live());
  // It heeds typed contents only.
  inferwire::open_inference::ModelInferRequest request;
  request.set_model_name("echo");
  auto* const input = request.add_inputs();
  input->set_name("data");
  input->set_datatype("FP32");
  input->add_shape(2);
  input->mutable_contents()->add_fp32_contents(1.5f);
  input->mutable_contents()->add_fp32_contents(-2);
  const auto reply = Answered(
      client.Call<inferwire::Rpc<&Stub::ModelInfer, "org.pytorch.serve.grpc.openinference.GRPCInferenceService">>(
          request));
  const InferResult result = Answered(inferwire_test::Decoded(reply));
  CHECK(result.model() == "echo");
  CHECK(Output<float>(result, "data") == std::vector<float>{1.5f, -2});
}

TEST_CASE("Envoy carries calls to the Tritons behind it", "[.][interop][envoy]") {
  const auto target = Told("INFERWIRE_ENVOY");
  if (!target) return;
  const auto server = ConnectTo(*target);
  for (int i = 0; i < 4; ++i) CheckAddSub(server);
}
