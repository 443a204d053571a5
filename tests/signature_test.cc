// SPDX-License-Identifier: Apache-2.0
#include "inferwire/signature.h"

#include <string>

#include "support/catch.h"

using inferwire::DataType;
using inferwire::Inputs;
using inferwire::ModelMetadata;
using inferwire::Outputs;
using inferwire::Shape;
using inferwire::Tensor;
using inferwire::detail::ShapeFor;

using Image = Tensor<"image", float, -1, 64>;
using Scores = Tensor<"scores", float, -1, 10>;

static_assert(Image::kSignature.name == "image" && Image::kSignature.datatype == DataType::kFp32);
static_assert(Image::kOpen == 1 && Tensor<"s", std::string>::kOpen == 0);

namespace {
ModelMetadata Digits() {
  return {"digits",
          {"1"},
          "",
          {{"image", DataType::kFp32, {-1, 64}}},
          {{"scores", DataType::kFp32, {-1, 10}}, {"label", DataType::kInt64, {-1}}}};
}

template <class Ins, class Outs = Outputs<Scores>>
std::string Check(const ModelMetadata& model, bool optional_inputs = false) {
  const absl::Status status = inferwire::detail::CheckSignature(model, Ins::kTensors, Outs::kTensors, optional_inputs);
  CHECK((status.ok() || status.code() == absl::StatusCode::kFailedPrecondition));
  return std::string(status.message());
}
}  // namespace

TEST_CASE("a signature that promises no more than the model takes and may give is fine", "[typed]") {
  CHECK(Check<Inputs<Image>>(Digits()).empty());
  CHECK(Check<Inputs<Tensor<"image", float, 1, 64>>>(Digits()).empty());
  CHECK(Check<Inputs<Image>, Outputs<Tensor<"label", std::int64_t, 1>, Tensor<"scores", float, -1, -1>>>(Digits())
            .empty());
  CHECK(Check<Inputs<Image>, Outputs<>>(Digits()).empty());
}

TEST_CASE("what differs is named, as the model says it and as the signature does", "[typed]") {
  CHECK(Check<Inputs<Tensor<"picture", float, -1, 64>>>(Digits()) ==
        "model 'digits' has no input 'picture'; it has 'image' FP32 [-1,64]");
  CHECK(Check<Inputs<Tensor<"image", double, -1, 64>>>(Digits()) ==
        "model 'digits' has the input 'image' FP32 [-1,64], but the signature says FP64 [-1,64]");
  CHECK(Check<Inputs<Tensor<"image", float, 64>>>(Digits()) ==
        "model 'digits' has the input 'image' FP32 [-1,64], but the signature says FP32 [64]");
  CHECK(Check<Inputs<Tensor<"image", float, -1, 32>>>(Digits()) ==
        "model 'digits' has the input 'image' FP32 [-1,64], but the signature says FP32 [-1,32]");
  // A signature that sends any size is too much for a model that takes one.
  CHECK(Check<Inputs<Tensor<"image", float, -1, -1>>>(Digits()) ==
        "model 'digits' has the input 'image' FP32 [-1,64], but the signature says FP32 [-1,-1]");
  CHECK(Check<Inputs<Image>, Outputs<Tensor<"score", float, -1, 10>>>(Digits()) ==
        "model 'digits' has no output 'score'; it has 'scores' FP32 [-1,10], 'label' INT64 [-1]");
  CHECK(Check<Inputs<Image>, Outputs<Tensor<"label", std::int32_t, -1>>>(Digits()) ==
        "model 'digits' has the output 'label' INT64 [-1], but the signature says INT32 [-1]");
  CHECK(Check<Inputs<>, Outputs<Scores>>(ModelMetadata{"empty", {}, "", {}, {}}) ==
        "model 'empty' has no output 'scores'; it has none");
}

TEST_CASE("an input that the signature lacks is named, unless inputs may be optional", "[typed]") {
  ModelMetadata model = Digits();
  model.inputs.push_back({"seed", DataType::kInt64, {1}});
  CHECK(Check<Inputs<Image>>(model) ==
        "model 'digits' takes the input 'seed' INT64 [1], which the signature lacks; if it is optional, say "
        "BindOptions::optional_inputs");
  CHECK(Check<Inputs<Image>>(model, true).empty());
}

TEST_CASE("the number of elements says the dimension that is open", "[typed]") {
  CHECK(ShapeFor<Image>(128).value() == Shape{2, 64});
  CHECK(ShapeFor<Image>(0).value() == Shape{0, 64});
  CHECK(ShapeFor<Tensor<"x", float, 3>>(7).value() == Shape{3});  // judged where the elements are
  CHECK(ShapeFor<Tensor<"x", float>>(1).value() == Shape{});
  CHECK(std::string(ShapeFor<Image>(65).status().message()) == "65 elements do not fill [-1,64] of the signature");
  CHECK_FALSE(ShapeFor<Tensor<"x", float, -1, 0>>(0).ok());
  CHECK_FALSE(ShapeFor<Tensor<"x", float, -1, 1LL << 62, 1LL << 62>>(1).ok());
}
