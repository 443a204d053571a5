// SPDX-License-Identifier: Apache-2.0
//
// KServe's own server in its dialect: scikit-learn's answers, typed where they came raw, errors, loading.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "inferwire/admin.h"
#include "inferwire/contract/typed_contents.h"
#include "support/inference.h"
#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

TEST_CASE("KServe says of every digit what scikit-learn says", "[.][interop][kserve]") {
  const auto target = Told("INFERWIRE_KSERVE"), expected = Told("INFERWIRE_KSERVE_EXPECTED");
  if (!target || !expected) return;
  const auto server = ConnectTo<OpenInferenceKServe>(*target);
  CHECK(Answered(server.Live()));
  CHECK(Answered(server.Ready()));
  CHECK(Answered(server.GetModel("digits").Ready()));
  CHECK(Answered(server.Metadata()).name == "kserve");
  CheckOk(server.CheckDialect());
  const Digits digits(*expected);
  const InferRequest request{{"predict", std::span<const float>(digits.pixels), {1797, 64}}};
  CHECK((Values<std::int64_t>(server.GetModel("digits").Infer(request), "predict") == digits.classes));
  CHECK((Values<std::int64_t>(ConnectTo<TypedContents<OpenInferenceKServe>>(*target).GetModel("digits").Infer(request),
                              "predict") == digits.classes));
  CHECK((Values<std::int64_t>(ConnectTo(*target).GetModel("digits").Infer(request), "predict") == digits.classes));
}

TEST_CASE("KServe gives back every datatype that it has", "[.][interop][kserve]") {
  const auto target = Told("INFERWIRE_KSERVE");
  if (!target) return;
  InferRequest request{{"int8", std::vector<std::int8_t>{-128, 127}, {2}},
                       {"int64", std::vector<std::int64_t>{INT64_MIN, INT64_MAX}, {2}},
                       {"uint8", std::vector<std::uint8_t>{0, 255}, {2}},
                       {"uint64", std::vector<std::uint64_t>{0, UINT64_MAX}, {1, 2}},
                       {"fp32", std::vector<float>{0.5f, -1e30f}, {2}},
                       {"fp64", std::vector<double>{0.1, 5e-324}, {2}},
                       {"bool", std::vector<bool>{true, false}, {2}}};
  request.set_id("mine");
  for (const InferResult& result :
       {Answered(ConnectTo<OpenInferenceKServe>(*target).GetModel("digits").Infer(request)),
        Answered(ConnectTo<TypedContents<OpenInferenceKServe>>(*target).GetModel("digits").Infer(request))}) {
    CHECK(result.id() == "mine");
    CHECK(Values<std::int8_t>(result, "int8") == std::vector<std::int8_t>{-128, 127});
    CHECK(Values<std::int64_t>(result, "int64") == std::vector<std::int64_t>{INT64_MIN, INT64_MAX});
    CHECK(Values<std::uint8_t>(result, "uint8") == std::vector<std::uint8_t>{0, 255});
    CHECK(Values<std::uint64_t>(result, "uint64") == std::vector<std::uint64_t>{0, UINT64_MAX});
    CHECK(result.Find("uint64").value()->shape() == Shape{1, 2});
    CHECK(Values<float>(result, "fp32") == std::vector<float>{0.5f, -1e30f});
    CHECK(Values<double>(result, "fp64") == std::vector<double>{0.1, 5e-324});
    CHECK(Values<bool>(result, "bool") == std::vector<bool>{true, false});
  }
}

TEST_CASE("KServe's errors are told as they are", "[.][interop][kserve]") {
  const auto target = Told("INFERWIRE_KSERVE");
  if (!target) return;
  const auto server = ConnectTo<OpenInferenceKServe>(*target);
  const auto model = server.GetModel("digits");
  const absl::Status no = model.Infer({{"ERROR", std::vector<std::int32_t>{1}, {1}}}).status();
  INFO(no);
  CHECK(no.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(no, "model said no"));
  const absl::Status broken = model.Infer({{"RAISE", std::vector<std::int32_t>{1}, {1}}}).status();
  INFO(broken);
  CHECK((broken.code() == absl::StatusCode::kInternal || broken.code() == absl::StatusCode::kUnknown));
  CHECK(server.GetModel("nobody").Infer({{"x", std::vector<float>{1}, {1}}}).status().code() ==
        absl::StatusCode::kNotFound);
  CHECK(model.Infer({{"SLEEP_S", std::vector<float>{30}, {1}}}, {.timeout = absl::Milliseconds(300)}).status().code() ==
        absl::StatusCode::kDeadlineExceeded);
  auto stream = ConnectTo(*target).GetModel("digits").StreamInfer({{"x", std::vector<float>{1}, {1}}});
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kUnimplemented);
}

// The last: the server forgets a model that it has unloaded, and cannot load it again.
TEST_CASE("KServe unloads, by messages of its own", "[.][interop][kserve]") {
  const auto target = Told("INFERWIRE_KSERVE");
  if (!target) return;
  Instance instance("kserve", *target);
  const auto server = ConnectTo<OpenInferenceKServe>(*target);
  const Admin admin(server);
  // It has answered both by INTERNAL whatever it did.
  const absl::Status loaded = admin.LoadModel("digits");
  INFO(loaded);
  CHECK((loaded.ok() || loaded.code() == absl::StatusCode::kInternal));
  CHECK(admin.LoadModel("digits", {.config = "{}"}).code() == absl::StatusCode::kInvalidArgument);
  CHECK_FALSE(admin.LoadModel("nobody").ok());
  const absl::Status unloaded = admin.UnloadModel("digits");
  INFO(unloaded);
  CHECK((unloaded.ok() || unloaded.code() == absl::StatusCode::kInternal));
  CHECK_FALSE(server.GetModel("digits").Infer({{"x", std::vector<float>{1}, {1}}}).ok());
  instance.Stop();  // and comes back with its model
}
