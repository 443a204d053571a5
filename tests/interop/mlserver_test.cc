// SPDX-License-Identifier: Apache-2.0
//
// MLServer in its own dialect: scikit-learn's answers, streams without a wrapper, and errors.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/admin.h"
#include "inferwire/contract/typed_contents.h"
#include "inferwire/typed_model.h"
#include "support/inference.h"
#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

namespace {

InferRequest Numbers(std::vector<std::int32_t> values) {
  const auto size = static_cast<std::int64_t>(values.size());
  return {{"IN", std::move(values), {size}}};
}

}  // namespace

TEST_CASE("MLServer says of every digit what scikit-learn says", "[.][interop][mlserver]") {
  const auto target = Told("INFERWIRE_MLSERVER"), expected = Told("INFERWIRE_MLSERVER_EXPECTED");
  if (!target || !expected) return;
  const auto server = ConnectTo<OpenInferenceMlServer>(*target);
  CHECK(Answered(server.Live()));
  CHECK(Answered(server.Ready()));
  CHECK(Answered(server.GetModel("digits").Ready()));
  CHECK(Answered(server.Metadata()).version == "1.7.1");
  CheckOk(server.CheckDialect());
  CHECK(Contains(ConnectTo(*target).CheckDialect(), "expected InferenceClient<OpenInferenceMlServer>"));
  const Digits digits(*expected);
  const auto same = [&](const InferResult& result) {
    CHECK((Values<std::int64_t>(result, "predict") == digits.classes));
    const auto probabilities = Values<double>(result, "predict_proba");
    REQUIRE(probabilities.size() == digits.probabilities.size());
    double most = 0;
    for (std::size_t i = 0; i < probabilities.size(); ++i) {
      most = (std::max)(most, std::abs(probabilities[i] - digits.probabilities[i]));
    }
    CHECK(most < 1e-9);
    WARN("1797 digits: the same classes; probabilities differ by at most " << most);
  };
  InferRequest request{{"predict", std::span<const float>(digits.pixels), {1797, 64}}};
  request.set_outputs({"predict", "predict_proba"});
  same(Answered(server.GetModel("digits").Infer(request)));
  // As numbers instead of bytes.
  same(Answered(ConnectTo<TypedContents<OpenInferenceMlServer>>(*target).GetModel("digits").Infer(request)));
}

TEST_CASE("a digit of MLServer's is a function's argument", "[.][interop][mlserver]") {
  const auto target = Told("INFERWIRE_MLSERVER"), expected = Told("INFERWIRE_MLSERVER_EXPECTED");
  if (!target || !expected) return;
  const Digits digits(*expected);
  const auto classify = Answered(
      ConnectTo<OpenInferenceMlServer>(*target)
          .Bind<Outputs<Tensor<"predict", std::int64_t, -1, 1>>, Inputs<Tensor<"predict", float, -1, 64>>>("digits"));
  const auto result = classify(std::span(digits.pixels).first(10 * 64));
  CheckOk(result.status());
  const auto& [classes] = *result;
  CHECK(std::vector<std::int64_t>(classes.begin(), classes.end()) ==
        std::vector<std::int64_t>(digits.classes.begin(), digits.classes.begin() + 10));
}

TEST_CASE("MLServer gives back every datatype that it has", "[.][interop][mlserver]") {
  const auto target = Told("INFERWIRE_MLSERVER");
  if (!target) return;
  InferRequest request{{"bool", std::vector<bool>{true, false}, {2}},
                       {"int8", std::vector<std::int8_t>{-128, 127}, {2}},
                       {"int64", std::vector<std::int64_t>{INT64_MIN, INT64_MAX}, {2}},
                       {"uint8", std::vector<std::uint8_t>{0, 255}, {2}},
                       {"uint64", std::vector<std::uint64_t>{0, UINT64_MAX}, {1, 2}},
                       {"fp32", std::vector<float>{0.5f, -1e30f}, {2}},
                       {"fp64", std::vector<double>{0.1, 5e-324}, {2}},
                       {"bytes", std::vector<std::string>{"Tom", "", "größe"}, {3}}};
  request.set_id("mine");
  for (const InferResult& result :
       {Answered(ConnectTo<OpenInferenceMlServer>(*target).GetModel("custom").Infer(request)),
        Answered(ConnectTo<TypedContents<OpenInferenceMlServer>>(*target).GetModel("custom").Infer(request))}) {
    CHECK(result.id() == "mine");
    CHECK(Values<bool>(result, "bool") == std::vector<bool>{true, false});
    CHECK(Values<std::int8_t>(result, "int8") == std::vector<std::int8_t>{-128, 127});
    CHECK(Values<std::int64_t>(result, "int64") == std::vector<std::int64_t>{INT64_MIN, INT64_MAX});
    CHECK(Values<std::uint8_t>(result, "uint8") == std::vector<std::uint8_t>{0, 255});
    CHECK(Values<std::uint64_t>(result, "uint64") == std::vector<std::uint64_t>{0, UINT64_MAX});
    CHECK(Values<float>(result, "fp32") == std::vector<float>{0.5f, -1e30f});
    CHECK(Values<double>(result, "fp64") == std::vector<double>{0.1, 5e-324});
    CHECK(Values<std::string>(result, "bytes") == std::vector<std::string>{"Tom", "", "größe"});
  }
}

TEST_CASE("MLServer streams answers without a wrapper, until an error ends the stream", "[.][interop][mlserver]") {
  const auto target = Told("INFERWIRE_MLSERVER");
  if (!target) return;
  const auto model = ConnectTo<OpenInferenceMlServer>(*target).GetModel("custom");
  InferRequest request = Numbers({7, 8, 9});
  request.set_id("mine");
  auto stream = model.StreamInfer(request);
  std::vector<std::int32_t> values;
  for (const InferResult& answer : stream) {
    CHECK(answer.id() == "mine");
    CHECK(Values<std::int32_t>(answer, "IDX").at(0) == static_cast<std::int32_t>(values.size()));
    values.push_back(Values<std::int32_t>(answer, "OUT").at(0));
  }
  CheckOk(stream.status());
  CHECK(values == std::vector<std::int32_t>{7, 8, 9});

  auto poisoned = model.StreamInfer(Numbers({7, -999, 9}));
  CHECK(poisoned.Read().has_value());
  CHECK_FALSE(poisoned.Read().has_value());
  CHECK(poisoned.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(poisoned.status(), "poison value -999"));

  auto enough = model.StreamInfer(Numbers(std::vector<std::int32_t>(1000, 1)));  // 50 s
  CHECK(enough.Read().has_value());
  CHECK(enough.Finish().code() == absl::StatusCode::kCancelled);
  CHECK(Answered(model.Ready()));
}

TEST_CASE("MLServer's errors are told as they are", "[.][interop][mlserver]") {
  const auto target = Told("INFERWIRE_MLSERVER");
  if (!target) return;
  const auto server = ConnectTo<OpenInferenceMlServer>(*target);
  const auto custom = server.GetModel("custom");
  const absl::Status no = custom.Infer({{"ERROR", std::vector<std::int32_t>{1}, {1}}}).status();
  CHECK(no.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(no, "model said no"));
  const absl::Status broken = custom.Infer({{"RAISE", std::vector<std::int32_t>{1}, {1}}}).status();
  INFO(broken);
  CHECK((broken.code() == absl::StatusCode::kInternal || broken.code() == absl::StatusCode::kUnknown));
  CHECK(server.GetModel("nobody").Infer(Numbers({1})).status().code() == absl::StatusCode::kNotFound);
  CHECK(
      custom.Infer({{"SLEEP_S", std::vector<float>{30}, {1}}}, {.timeout = absl::Milliseconds(300)}).status().code() ==
      absl::StatusCode::kDeadlineExceeded);
  InferRequest doubtful = Numbers({1});
  doubtful.set_parameter("ratio", 0.5);
  CHECK(Contains(custom.Infer(doubtful).status(), "MLServer"));
  // It takes 4 MiB a message.
  const std::vector<float> large(2 << 20);
  const absl::Status too_large = custom.Infer({{"x", std::span<const float>(large), {2 << 20}}}).status();
  CHECK(too_large.code() == absl::StatusCode::kResourceExhausted);
  CHECK(InfoOf(too_large).attempts.size() == 1);
}

TEST_CASE("MLServer loads and unloads", "[.][interop][mlserver]") {
  const auto target = Told("INFERWIRE_MLSERVER");
  if (!target) return;
  const auto server = ConnectTo<OpenInferenceMlServer>(*target);
  const Admin admin(server);
  CHECK(Answered(admin.RepositoryIndex()).size() == 2);
  CheckOk(admin.UnloadModel("custom"));
  CHECK_FALSE(server.GetModel("custom").Infer(Numbers({1})).ok());
  CheckOk(admin.LoadModel("custom", {}, {.timeout = absl::Minutes(1)}));
  CheckOk(server.GetModel("custom").Infer(Numbers({1})).status());
  CHECK(admin.LoadModel("custom", {.config = "{}"}).code() == absl::StatusCode::kInvalidArgument);
  CHECK_FALSE(admin.LoadModel("nobody").ok());
}
