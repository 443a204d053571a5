// SPDX-License-Identifier: Apache-2.0
#include "inferwire/typed_model.h"

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/contract/simple.h"
#include "inferwire/testing/fake_server.h"
#include "server/server.h"
#include "support/inference.h"

using inferwire::InferenceClient;
using inferwire::InferInput;
using inferwire::Inputs;
using inferwire::OpenInference;
using inferwire::Outputs;
using inferwire::Simple;
using inferwire::Tensor;
using namespace inferwire_test;  // NOLINT

using Image = Tensor<"image", float, -1, 64>;
using Scores = Tensor<"scores", float, -1, 10>;
using Label = Tensor<"label", std::int64_t, -1>;

namespace {
std::unique_ptr<inferwire::examples::EmbeddedServer> StartServer() {
  auto server = inferwire::examples::EmbeddedServer::Start({});
  REQUIRE(server.ok());
  return *std::move(server);
}
template <class C = OpenInference>
InferenceClient<C> Speak(const std::string& target) {
  return InferenceClient<C>(Connect(target));
}
template <class View>
auto List(const View& view) {
  return std::vector<typename View::Element>(view.begin(), view.end());
}
}  // namespace

TEST_CASE("a bound model is called like a function", "[typed]") {
  const auto server = StartServer();
  const auto client = Speak(server->target());
  auto classify = client.Bind<Outputs<Scores, Label>, Inputs<Image>>("digits");
  REQUIRE(classify.ok());
  std::array<float, 64> pixels{};
  auto [scores, label] = *(*classify)(pixels);
  CHECK(scores.shape() == inferwire::Shape{1, 10});
  CHECK(std::accumulate(scores.begin(), scores.end(), 0.0f) == Approx(1).margin(1e-4));
  CHECK(label.size() == 1);
  CHECK(scores[static_cast<std::size_t>(label[0])] == *std::max_element(scores.begin(), scores.end()));

  const auto untyped = client.GetModel("digits").Infer({{"image", std::span<const float>(pixels), {1, 64}}});
  const auto expected = untyped->Get<float>("scores");
  CHECK(List(scores) == std::vector<float>(expected->begin(), expected->end()));
}

TEST_CASE("arguments are spans, arrays and containers, lent or owned, of one image or several", "[typed]") {
  const auto server = StartServer();
  const auto classify = *Speak(server->target()).Bind<Outputs<Scores>, Inputs<Image>>("digits");
  const auto rows = [&](auto&& argument) {
    const auto result = classify(std::forward<decltype(argument)>(argument));
    REQUIRE(result.ok());
    return std::get<0>(*result).shape()[0];
  };
  std::vector<float> two(128);
  float c_array[64] = {};
  CHECK(rows(two) == 2);
  CHECK(rows(std::as_const(two)) == 2);
  CHECK(rows(std::span<const float>(two).first(64)) == 1);
  CHECK(rows(std::span<float, 64>(c_array)) == 1);
  CHECK(rows(c_array) == 1);
  CHECK(rows(std::vector<float>(192)) == 3);
  CHECK(rows(std::make_shared<const std::vector<float>>(64)) == 1);
  CHECK(rows(InferInput("image", std::vector<float>(128), {2, 64})) == 2);
  CHECK(std::get<0>(*classify({two, {2, 64}})).shape()[0] == 2);
  CHECK(std::get<0>(*classify(two, {.timeout = absl::Minutes(1)})).shape()[0] == 2);
}

TEST_CASE("strings and single values are arguments too", "[typed]") {
  const auto server = StartServer();
  const auto tell = Speak(server->target())
                        .Bind<Outputs<Tensor<"text", std::string, 1>>,
                              Inputs<Tensor<"prompt", std::string, 1>, Tensor<"max_tokens", std::int64_t, 1>>>(
                            "storyteller", {.optional_inputs = true});
  REQUIRE(tell.ok());
  const auto result = (*tell)("Tom", std::int64_t{5});
  REQUIRE(result.ok());
  const auto [text] = *result;
  CHECK_FALSE(text[0].empty());
  const std::vector<std::string> prompt{"Tom"};
  CHECK(List(std::get<0>(*(*tell)(prompt, std::vector<std::int64_t>{5}))) == List(text));
  CHECK(List(std::get<0>(*(*tell)(std::string("Tom"), 5L))) == List(text));
}

TEST_CASE("bits of a std::vector<bool> become a BOOL tensor", "[typed]") {
  const auto server = StartServer();
  const auto echo =
      Speak(server->target())
          .Bind<Outputs<Tensor<"OUTPUT0", bool, 3>>, Inputs<Tensor<"INPUT0", bool, -1>>>("identity", {.check = false});
  REQUIRE(echo.ok());
  std::vector<bool> mask{true, false, true};
  const auto result = (*echo)(mask);
  REQUIRE(result.ok());
  CHECK(List(std::get<0>(*result)) == mask);
  CHECK((*echo)(std::move(mask)).ok());
}

TEST_CASE("several open dimensions take a shape", "[typed]") {
  const auto server = StartServer();
  const auto echo = Speak(server->target())
                        .Bind<Outputs<Tensor<"OUTPUT0", double, -1, -1>>, Inputs<Tensor<"INPUT0", double, -1, -1>>>(
                            "identity", {.check = false});
  REQUIRE(echo.ok());
  const std::vector<double> six{1, 2, 3, 4, 5, 6};
  const auto result = (*echo)({six, {2, 3}});
  REQUIRE(result.ok());
  CHECK(std::get<0>(*result).shape() == inferwire::Shape{2, 3});
  CHECK(List(std::get<0>(*result)) == six);
  CHECK(Contains((*echo)({six, {2, 2}}).status(), "input 'INPUT0': shape [2,2] holds 4 elements, but 6 were given"));
  CHECK(Contains((*echo)({six, {6}}).status(), "input 'INPUT0': a shape of [6], but the signature says FP64 [-1,-1]"));
}

TEST_CASE("an asynchronous call gives the same by a future", "[typed]") {
  const auto server = StartServer();
  const auto classify = *Speak(server->target()).Bind<Outputs<Scores>, Inputs<Image>>("digits");
  const std::vector<float> pixels(64);
  auto lent = classify.Async(std::span(pixels));
  auto owned = classify.Async(std::vector<float>(64), {.timeout = absl::Minutes(1)});
  const auto a = std::move(lent).Get();
  const auto b = std::move(owned).Get();
  REQUIRE(a.ok());
  REQUIRE(b.ok());
  CHECK(List(std::get<0>(*a)) == List(std::get<0>(*b)));
  CHECK(classify.Async(std::vector<float>(63)).Get().status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a view keeps the result alive", "[typed]") {
  const auto server = StartServer();
  std::optional<inferwire::OutputView<Label>> kept;
  {
    const auto classify = *Speak(server->target()).Bind<Outputs<Scores, Label>, Inputs<Image>>("digits");
    kept = std::get<1>(*classify(std::vector<float>(64)));
  }
  CHECK(kept->size() == 1);
  CHECK((*kept)[0] >= 0);
  CHECK(kept->result().model() == "digits");
}

TEST_CASE("a signature that the model does not have is refused when it is bound", "[typed]") {
  const auto server = StartServer();
  const auto client = Speak(server->target());
  const absl::Status type = client.Bind<Outputs<Scores>, Inputs<Tensor<"image", double, -1, 64>>>("digits").status();
  CHECK(type.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(type, "model 'digits' has the input 'image' FP32 [-1,64], but the signature says FP64 [-1,64]"));
  CHECK(Contains(client.Bind<Outputs<>, Inputs<Tensor<"prompt", std::string, 1>>>("storyteller").status(),
                 "model 'storyteller' takes the input 'max_tokens' INT64 [1], which the signature lacks"));
  CHECK(client.Bind<Outputs<Scores>, Inputs<Image>>("nobody").status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("arguments that do not fit the signature are refused before anything is sent", "[typed]") {
  const auto server = StartServer();
  const auto classify = *Speak(server->target()).Bind<Outputs<Scores>, Inputs<Image>>("digits");
  const std::vector<float> odd(65);
  const absl::Status status = classify(odd).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(status, "input 'image': 65 elements do not fill [-1,64] of the signature"));
  CHECK(Contains(classify(InferInput("image", std::vector<double>(64), {1, 64})).status(),
                 "input 'image': given was 'image' FP64 [1,64], but the signature says FP32 [-1,64]"));
  CHECK(Contains(classify(InferInput("image", std::vector<float>(64), {1, 63})).status(),
                 "input 'image': shape [1,63] holds 63 elements, but 64 were given"));
}

TEST_CASE("only the outputs of the signature are asked for", "[typed]") {
  inferwire::testing::FakeServer fake;
  using Metadata = OpenInference::ModelMetadata;
  using Infer = OpenInference::Infer;
  Metadata::Response metadata;
  metadata.set_name("m");
  for (const char* name : {"scores", "label"}) {
    auto& output = *metadata.add_outputs();
    output.set_name(name);
    output.set_datatype("FP32");
    output.add_shape(-1);
  }
  Infer::Response answer;
  answer.set_model_name("m");
  auto& output = *answer.add_outputs();
  output.set_name("scores");
  output.set_datatype("FP32");
  output.add_shape(1);
  answer.add_raw_output_contents(std::string(4, '\0'));
  fake.On<Metadata>().Reply(metadata);
  fake.On<Infer>().Reply(answer);
  const auto model = Speak(fake.target()).Bind<Outputs<Tensor<"scores", float, -1>>, Inputs<>>("m");
  REQUIRE(model.ok());
  REQUIRE((*model)().ok());
  const auto requests = fake.requests<Infer>();
  REQUIRE(requests.size() == 1);
  REQUIRE(requests[0].outputs_size() == 1);
  CHECK(requests[0].outputs(0).name() == "scores");

  // The same server, bound unasked: what it gives is checked all the same.
  const auto unasked =
      Speak(fake.target()).Bind<Outputs<Tensor<"scores", double, -1>>, Inputs<>>("m", {.check = false});
  const absl::Status wrong = (*unasked)().status();
  CHECK(wrong.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(wrong, "model 'm' gave the output 'scores' FP32 [1], but the signature says FP64 [-1]"));
  const auto missing = Speak(fake.target()).Bind<Outputs<Tensor<"text", float, -1>>, Inputs<>>("m", {.check = false});
  CHECK(Contains((*missing)().status(), "model 'm' gave no output 'text'; there is 'scores'"));
}

TEST_CASE("a contract without metadata is checked by its answers", "[typed]") {
  const auto server = StartServer();
  const auto client = Speak<Simple>(server->target());
  const auto classify = client.Bind<Outputs<Tensor<"output", float, -1, 10>>, Inputs<Image>>("digits");
  REQUIRE(classify.ok());
  const std::vector<float> pixels(64);
  CHECK((*classify)(pixels).ok());
  const auto wrong = client.Bind<Outputs<Tensor<"output", float, -1, 11>>, Inputs<Image>>("digits");
  CHECK(Contains((*wrong)(pixels).status(),
                 "model 'digits' gave the output 'output' FP32 [1,10], but the signature says FP32 [-1,11]"));
}
