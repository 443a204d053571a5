// SPDX-License-Identifier: Apache-2.0
#include "inferwire/model_check.h"

#include <atomic>
#include <functional>

#include <string>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/inference.h"
#include "support/inference.h"
#include "support/open_inference.h"

using inferwire::DataType;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::ModelMetadata;
using inferwire::OpenInference;
using namespace inferwire_test;  // NOLINT
namespace oip = inferwire::open_inference;

namespace {

const ModelMetadata kModel{"m",
                           {},
                           {},
                           {{"image", DataType::kFp32, {-1, 3}}, {"size", DataType::kInt32, {1}}},
                           {{"scores", DataType::kFp32, {-1, 10}}}};

std::string Refusal(const InferRequest& request) {
  const absl::Status status = CheckRequest(request, kModel);
  CHECK((status.ok() || status.code() == absl::StatusCode::kInvalidArgument));
  return std::string(status.message());
}

// A server whose model takes a row of so many floats.
class Changing {
 public:
  explicit Changing(int width) : width_(width) {}
  void Become(int width) { width_ = width; }
  void operator()(RawCall& call) {
    if (call.method().ends_with("/ModelMetadata")) {
      ++asked;
      call.Read();
      if (width_ == 0) return call.Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no metadata here"));
      if (width_ < 0) return call.Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such model"));
      oip::ModelMetadataResponse metadata;
      metadata.set_name("m");
      auto& input = *metadata.add_inputs();
      input.set_name("x");
      input.set_datatype("FP32");
      input.add_shape(-1);
      input.add_shape(width_);
      call.Write(metadata.SerializeAsString());
      return;
    }
    ++inferred;
    call.Read();
    call.Write(oip::ModelInferResponse().SerializeAsString());
  }
  std::atomic<int> asked{0}, inferred{0};

 private:
  std::atomic<int> width_;
};

InferRequest Row(std::int64_t width) {
  return {{"x", std::vector<float>(static_cast<std::size_t>(width)), {1, width}}};
}

}  // namespace

TEST_CASE("a request that fits passes", "[check]") {
  CHECK(Refusal({{"image", std::vector<float>(6), {2, 3}}}).empty());
  CHECK(Refusal({{"image", std::vector<float>(0), {0, 3}}, {"size", std::vector<std::int32_t>{1}, {1}}}).empty());
  InferRequest request{{"size", std::vector<std::int32_t>{1}, {1}}};
  request.set_outputs({"scores"});
  CHECK(Refusal(request).empty());
  CHECK(CheckRequest(request, ModelMetadata()).ok());  // a server that lists nothing knows nothing
}

TEST_CASE("what does not fit is named, with what the model expects", "[check]") {
  CHECK(Refusal({{"imag", std::vector<float>(6), {2, 3}}}) ==
        "model 'm' has no input 'imag'; it expects 'image' (FP32 [-1,3]), 'size' (INT32 [1])");
  CHECK(Refusal({{"image", std::vector<double>(6), {2, 3}}}) ==
        "input 'image' is FP64 [2,3]; model 'm' expects FP32 [-1,3]");
  CHECK(Refusal({{"image", std::vector<float>(6), {3, 2}}}) ==
        "input 'image' is FP32 [3,2]; model 'm' expects FP32 [-1,3]");
  CHECK(Refusal({{"image", std::vector<float>(3), {3}}}) == "input 'image' is FP32 [3]; model 'm' expects FP32 [-1,3]");
  InferRequest request{{"size", std::vector<std::int32_t>{1}, {1}}};
  request.set_outputs({"score"});
  CHECK(Refusal(request) == "model 'm' has no output 'score'; it gives 'scores' (FP32 [-1,10])");
}

TEST_CASE("a model's metadata is asked for once, for all copies of the model", "[check]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>{Connect(server.target())}.GetModel("m");
  const auto copy = model;
  for (int i = 0; i < 3; ++i) CHECK(model.Infer(Row(4)).ok());
  CHECK(copy.AsyncInfer(Row(4)).Get().ok());
  CHECK(changing.asked == 1);
  CHECK(changing.inferred == 4);
}

TEST_CASE("a request that does not fit is held against the metadata anew, and is not sent", "[check]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>{Connect(server.target())}.GetModel("m");
  CHECK(model.Infer(Row(4)).ok());
  CHECK(model.Infer(Row(5)).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(model.AsyncInfer(Row(5)).Get().status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(changing.asked == 3);
  CHECK(changing.inferred == 1);
  // The model was replaced.
  changing.Become(5);
  CHECK(model.Infer(Row(5)).ok());
  CHECK(model.AsyncInfer(Row(5)).Get().ok());
  CHECK(changing.asked == 4);
  CHECK(changing.inferred == 3);
}

TEST_CASE("a first request as a future is checked too", "[check]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>{Connect(server.target())}.GetModel("m");
  CHECK(model.AsyncInfer(Row(5)).Get().status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(model.AsyncInfer(Row(4)).Get().ok());
  CHECK(changing.inferred == 1);
}

TEST_CASE("a server without metadata is asked once and checks nothing", "[check]") {
  Changing changing(0);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>{Connect(server.target())}.GetModel("m");
  for (int i = 0; i < 3; ++i) CHECK(model.Infer(Row(7)).ok());
  CHECK(changing.asked == 1);
}

TEST_CASE("a model that does not exist is said so once", "[check]") {
  Changing changing(-1);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>{Connect(server.target())}.GetModel("m");
  inferwire::CallInfo info;
  const auto result = model.Infer(Row(7), {.info = &info});
  CHECK(result.status().code() == absl::StatusCode::kNotFound);
  CHECK(changing.inferred == 0);
  CHECK(info.attempts.size() == 1);
}

TEST_CASE("checks can be turned off", "[check]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>{Connect(server.target())}.GetModel("m", {.check = false});
  CHECK(model.Infer(Row(9)).ok());
  CHECK(changing.asked == 0);
}
