// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/model/request_check.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/admin.h"
#include "inferwire/contract/open_inference.h"
#include "inferwire/inference.h"
#include "inferwire/testing/fake_clock.h"
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
  /// What is said instead of the metadata.
  void Say(grpc::StatusCode code) { code_ = code; }
  void Say(std::string bytes) { bytes_ = std::move(bytes); }
  std::string platform;
  std::vector<std::int64_t> shape;  // in place of [-1, width]
  std::string datatype = "FP32";
  /// No metadata is told before Open; answers for inference come at once.
  void Close() { open_ = false; }
  void Open() {
    {
      std::lock_guard lock(mutex_);
      open_ = true;
    }
    opened_.notify_all();
  }
  /// Waits until so many questions have come.
  void AwaitAsked(int count) {
    std::unique_lock lock(mutex_);
    REQUIRE(opened_.wait_for(lock, std::chrono::seconds(20), [&] { return asked >= count; }));
  }
  void operator()(RawCall& call) {
    if (call.method().ends_with("/ModelMetadata")) {
      {
        std::unique_lock lock(mutex_);
        ++asked;
        opened_.notify_all();
        opened_.wait_for(lock, std::chrono::seconds(20), [&] { return open_.load(); });
      }
      oip::ModelMetadataRequest request;
      static_cast<void>(request.ParseFromString(call.Read().value_or("")));
      if (code_ != grpc::StatusCode::OK) return call.Finish(grpc::Status(code_, "no metadata here"));
      if (bytes_.has_value()) {
        call.Write(*bytes_);
        return;
      }
      oip::ModelMetadataResponse metadata;
      metadata.set_name(request.name());
      metadata.set_platform(platform);
      auto& input = *metadata.add_inputs();
      input.set_name("x");
      input.set_datatype(datatype);
      // The tenant in the headers may have a model of his own.
      const std::string tenant = call.header("width");
      const std::int64_t width = tenant.empty() ? width_.load() : std::stoi(tenant);
      if (shape.empty()) {
        input.add_shape(-1);
        input.add_shape(width);
      }
      for (const std::int64_t dimension : shape) input.add_shape(dimension);
      call.Write(metadata.SerializeAsString());
      return;
    }
    if (call.method().ends_with("Load") || call.method().ends_with("Unload")) {
      call.Read();
      call.Write("");
      return;
    }
    ++inferred;
    call.Read();
    call.Write(oip::ModelInferResponse().SerializeAsString());
  }
  std::atomic<int> asked{0}, inferred{0};

 private:
  std::atomic<int> width_;
  std::atomic<grpc::StatusCode> code_{grpc::StatusCode::OK};
  std::optional<std::string> bytes_;
  std::atomic<bool> open_{true};
  std::mutex mutex_;
  std::condition_variable opened_;
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
  Changing changing(4);
  changing.Say(grpc::StatusCode::UNIMPLEMENTED);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>{Connect(server.target())}.GetModel("m");
  for (int i = 0; i < 3; ++i) CHECK(model.Infer(Row(7)).ok());
  CHECK(changing.asked == 1);
}

TEST_CASE("checks can be turned off", "[check]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>{Connect(server.target())}.GetModel("m", {.check = false});
  CHECK(model.Infer(Row(9)).ok());
  CHECK(changing.asked == 0);
}

TEST_CASE("metadata is known for a client: whoever gets the model anew asks nothing", "[check]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const inferwire::Client client = Connect(server.target());
  for (int i = 0; i < 20; ++i) {
    const InferenceClient<OpenInference> made(client);
    CHECK(made.GetModel("m").Infer(Row(4)).ok());
    CHECK(made.GetModel("m", {.over_stream = false}).AsyncInfer(Row(4)).Get().ok());
  }
  CHECK(changing.asked == 1);
  // Another model, or another version, is another question.
  CHECK(InferenceClient<OpenInference>(client).GetModel("n").Infer(Row(4)).ok());
  CHECK(InferenceClient<OpenInference>(client).GetModel("m", "2").Infer(Row(4)).ok());
  CHECK(changing.asked == 3);
  // Who has asked himself has asked for all.
  CHECK(InferenceClient<OpenInference>(client).GetModel("o").Metadata().ok());
  CHECK(InferenceClient<OpenInference>(client).GetModel("o").Infer(Row(4)).ok());
  CHECK(changing.asked == 4);
  CHECK(changing.inferred == 43);
}

TEST_CASE("a hundred first calls at once ask once", "[check][concurrency]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const InferenceClient<OpenInference> client(Connect(server.target()));
  changing.Close();
  std::vector<inferwire::Future<inferwire::InferResult>> right, wrong;
  for (int i = 0; i < 50; ++i) right.push_back(client.GetModel("m").AsyncInfer(Row(4)));
  for (int i = 0; i < 50; ++i) wrong.push_back(client.GetModel("m").AsyncInfer(Row(5)));
  std::vector<std::thread> threads;
  std::atomic<int> blocking_ok{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { blocking_ok += client.GetModel("m").Infer(Row(4)).ok() ? 1 : 0; });
  }
  changing.AwaitAsked(1);
  CHECK(changing.inferred == 0);
  changing.Open();
  for (auto& future : right) CHECK(std::move(future).Get().ok());
  for (auto& future : wrong) CHECK(std::move(future).Get().status().code() == absl::StatusCode::kInvalidArgument);
  for (std::thread& thread : threads) thread.join();
  CHECK(blocking_ok == 8);
  CHECK(changing.inferred == 58);
  // Who came after the answer and did not fit has asked anew, at most.
  CHECK(changing.asked <= 1 + 8);
}

TEST_CASE("what refuses or cannot tell metadata lets the request go, and is asked again after a while", "[check]") {
  const auto code =
      GENERATE(grpc::StatusCode::PERMISSION_DENIED, grpc::StatusCode::UNAUTHENTICATED, grpc::StatusCode::NOT_FOUND,
               grpc::StatusCode::UNIMPLEMENTED, grpc::StatusCode::UNAVAILABLE, grpc::StatusCode::DEADLINE_EXCEEDED,
               grpc::StatusCode::INTERNAL, grpc::StatusCode::UNKNOWN, grpc::StatusCode::CANCELLED,
               grpc::StatusCode::RESOURCE_EXHAUSTED, grpc::StatusCode::INVALID_ARGUMENT);
  Changing changing(4);
  changing.Say(code);
  RawServer server(std::ref(changing));
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const InferenceClient<OpenInference> client(Connect(server.target(), {.clock = clock}));
  for (int i = 0; i < 3; ++i) {
    const auto result = client.GetModel("m").Infer(Row(5));
    INFO(result.status().ToString());
    CHECK(result.ok());
    CHECK(client.GetModel("m").AsyncInfer(Row(5)).Get().ok());
  }
  CHECK(changing.asked == 1);
  CHECK(changing.inferred == 6);
  changing.Say(grpc::StatusCode::OK);
  clock->Advance(absl::Minutes(1));
  CHECK(client.GetModel("m").Infer(Row(5)).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(changing.asked == 2);
}

TEST_CASE("an answer that cannot be read, or is none that could be kept, checks nothing", "[check][trap]") {
  Changing changing(4);
  oip::ModelMetadataResponse metadata;
  SECTION("garbage") { changing.Say(std::string("\xff\xff\xff garbage")); }
  SECTION("a datatype that does not exist") {
    metadata.add_inputs()->set_datatype("INVALID");
    changing.Say(metadata.SerializeAsString());
  }
  SECTION("larger than any model's") {
    for (int i = 0; i < 100000; ++i) {
      auto& input = *metadata.add_inputs();
      input.set_name("input " + std::to_string(i));
      input.set_datatype("FP32");
    }
    changing.Say(metadata.SerializeAsString());
  }
  RawServer server(std::ref(changing));
  const InferenceClient<OpenInference> client(Connect(server.target()));
  CHECK(client.GetModel("m").Infer(Row(5)).ok());
  CHECK(client.GetModel("m").Infer(Row(5)).ok());
  CHECK(changing.asked == 1);
}

TEST_CASE("a refusal says how to turn the check off, and the call's story is told", "[check]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const InferenceClient<OpenInference> client(Connect(server.target()));
  const auto check = [&](const absl::Status& status, const inferwire::CallInfo& info) {
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(Contains(status, "input 'x' is FP32 [1,5]; model 'm' expects FP32 [-1,4]"));
    CHECK(Contains(status, "ModelOptions::check"));
    CHECK(info.reason == inferwire::CallInfo::Reason::kPermanent);
    CHECK(info.attempts.empty());
    CHECK(info.latency > absl::ZeroDuration());
    CHECK(inferwire::InfoOf(status).reason == inferwire::CallInfo::Reason::kPermanent);
  };
  const auto model = client.GetModel("m");
  for (int i = 0; i < 2; ++i) {  // unknown, and known
    inferwire::CallInfo blocking, future;
    const auto waited = model.Infer(Row(5), {.info = &blocking});
    check(waited.status(), blocking);
    const auto later = model.AsyncInfer(Row(5), {.info = &future}).Get();
    check(later.status(), future);
  }
  for (const bool over_stream : {false, true}) {
    inferwire::CallInfo info;
    const auto checked = client.GetModel("m", {.check = true, .over_stream = over_stream});
    check(checked.Infer(Row(5), {.info = &info}).status(), info);
    check(checked.AsyncInfer(Row(5), {.info = &info}).Get().status(), info);
    auto stream = checked.StreamInfer(Row(5), {.info = &info});
    CHECK(stream.begin() == stream.end());
    check(stream.status(), info);
    auto sequence = checked.Sequence(3);
    check(sequence.Step(Row(5), {.info = &info}).status(), info);
  }
  CHECK(changing.inferred == 0);
}

TEST_CASE("streams ask nothing by themselves, but are held against what is known", "[check]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>(Connect(server.target())).GetModel("m");
  CHECK(model.StreamInfer(Row(5)).status().code() != absl::StatusCode::kInvalidArgument);
  CHECK(changing.asked == 0);
  CHECK(model.Infer(Row(4)).ok());
  auto refused = model.StreamInfer(Row(5));
  CHECK(refused.begin() == refused.end());
  CHECK(refused.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(changing.asked == 2);
}

TEST_CASE("the question and the inference stay within the call's time, the client's too", "[check][deadline]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const auto clock = std::make_shared<inferwire::testing::FakeClock>();
  const InferenceClient<OpenInference> client(Connect(server.target(), {.timeout = absl::Seconds(1), .clock = clock}));
  changing.Close();
  inferwire::CallInfo info;
  auto future = client.GetModel("m").AsyncInfer(Row(5), {.info = &info});
  changing.AwaitAsked(1);
  CHECK_FALSE(future.Wait(absl::ZeroDuration()));
  CHECK(changing.inferred == 0);
  // Half of the time is the inference's.
  clock->Advance(absl::Milliseconds(499));
  CHECK(changing.inferred == 0);
  clock->Advance(absl::Milliseconds(1));
  CHECK(std::move(future).Get().ok());
  CHECK(changing.inferred == 1);
  CHECK(info.attempts.size() == 1);
  CHECK(info.latency == absl::Milliseconds(500));
  // Who has less time waits for less of it; nobody asks a second time meanwhile.
  auto hasty = client.GetModel("m").AsyncInfer(Row(5), {.timeout = absl::Milliseconds(100)});
  clock->Advance(absl::Milliseconds(50));
  CHECK(std::move(hasty).Get().ok());
  CHECK(changing.asked == 1);
  // The answer comes late, but counts for those who come later.
  changing.Open();
  const auto model = client.GetModel("m");
  while (model.Infer(Row(5)).ok()) std::this_thread::yield();
  CHECK(changing.asked <= 2);
}

TEST_CASE("who waits for an answer can be cancelled, and leaves nothing behind", "[check]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const InferenceClient<OpenInference> client(Connect(server.target()));
  changing.Close();
  const auto held = std::make_shared<const std::vector<float>>(4);
  auto first = client.GetModel("m").AsyncInfer({{"x", held, {1, 4}}});
  changing.AwaitAsked(1);
  std::stop_source stop;
  auto stopped = client.GetModel("m").AsyncInfer({{"x", held, {1, 4}}}, {.stop = stop.get_token()});
  auto cancelled = client.GetModel("m").AsyncInfer({{"x", held, {1, 4}}});
  std::optional<inferwire::Future<inferwire::InferResult>> dropped =
      client.GetModel("m").AsyncInfer({{"x", held, {1, 4}}});
  stop.request_stop();
  CHECK(std::move(stopped).Get().status().code() == absl::StatusCode::kCancelled);
  cancelled.Cancel();
  CHECK(std::move(cancelled).Get().status().code() == absl::StatusCode::kCancelled);
  dropped.reset();
  // The one that asked goes too; the question remains, for the others.
  auto other = client.GetModel("m").AsyncInfer(Row(4));
  first.Cancel();
  CHECK(std::move(first).Get().status().code() == absl::StatusCode::kCancelled);
  while (held.use_count() > 1) std::this_thread::yield();  // nothing is kept until the question has its answer
  changing.Open();
  CHECK(std::move(other).Get().ok());
  CHECK(changing.asked == 1);
}

TEST_CASE("loading and unloading forgets what was known", "[check][admin]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const InferenceClient<OpenInference> client(Connect(server.target()));
  const inferwire::Admin admin(client);
  CHECK(client.GetModel("m").Infer(Row(4)).ok());
  CHECK(client.GetModel("n").Infer(Row(4)).ok());
  changing.Become(5);
  CHECK(client.GetModel("m").Infer(Row(4)).ok());  // nobody said so
  REQUIRE(admin.LoadModel("m").ok());
  CHECK(client.GetModel("m").Infer(Row(4)).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(client.GetModel("n").Infer(Row(4)).ok());
  changing.Become(6);
  REQUIRE(admin.UnloadModel("m").ok());
  CHECK(client.GetModel("m").Infer(Row(5)).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("an answer to another's headers refuses nobody", "[check][concurrency]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>(Connect(server.target())).GetModel("m");
  changing.Close();
  auto mine = model.AsyncInfer(Row(4));
  changing.AwaitAsked(1);
  auto tenants = model.AsyncInfer(Row(7), {.metadata = {{"width", "7"}}});
  changing.Open();
  CHECK(std::move(mine).Get().ok());
  CHECK(std::move(tenants).Get().ok());
  // What is known is another's: asked again, as the request itself is sent.
  CHECK(model.Infer(Row(7), {.metadata = {{"width", "7"}}}).ok());
  CHECK(model.Infer(Row(8), {.metadata = {{"width", "7"}}}).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(model.Infer(Row(4)).ok());
}

TEST_CASE("names of models that come from strangers do not add up", "[check][trap]") {
  Changing changing(4);
  RawServer server(std::ref(changing));
  const inferwire::Client client = Connect(server.target());
  const auto known = inferwire::detail::engine::Kept<inferwire::detail::KnownModels>(*client.engine());
  const InferenceClient<OpenInference> made(client);
  const auto kept = made.GetModel("kept");
  for (int i = 0; i < 5000; ++i) static_cast<void>(made.GetModel("stranger " + std::to_string(i)));
  CHECK(known->size() <= 1001);
  CHECK(kept.Infer(Row(4)).ok());
  CHECK(made.GetModel("kept").Infer(Row(4)).ok());
  CHECK(changing.asked == 1);
}

TEST_CASE("what OpenVINO Model Server takes beyond its metadata is not refused", "[check][openvino]") {
  Changing changing(4);
  changing.platform = "OpenVINO";
  changing.shape = {1, 4};
  RawServer server(std::ref(changing));
  const auto model = InferenceClient<OpenInference>(Connect(server.target())).GetModel("m");
  // A batch, or a shape, that is "auto": the present one is told.
  CHECK(model.Infer({{"x", std::vector<float>(32), {8, 4}}}).ok());
  CHECK(model.Infer({{"x", std::vector<float>(6), {1, 6}}}).ok());
  // Encoded images.
  CHECK(model.Infer({{"x", std::vector<std::string>{"jpeg", "jpeg"}, {2}}}).ok());
  CHECK(changing.inferred == 3);
  // What it never takes.
  CHECK_FALSE(model.Infer({{"x", std::vector<double>(4), {1, 4}}}).ok());
  CHECK_FALSE(model.Infer({{"x", std::vector<float>(4), {4}}}).ok());
  CHECK_FALSE(model.Infer({{"y", std::vector<float>(4), {1, 4}}}).ok());
  CHECK(changing.inferred == 3);
  // Triton's backend of the same name has a metadata that binds.
  Changing backend(4);
  backend.platform = "openvino";
  backend.shape = {1, 4};
  RawServer other(std::ref(backend));
  const auto triton = InferenceClient<OpenInference>(Connect(other.target())).GetModel("m");
  CHECK_FALSE(triton.Infer({{"x", std::vector<float>(32), {8, 4}}}).ok());
  CHECK_FALSE(triton.Infer({{"x", std::vector<std::string>{"jpeg"}, {1}}}).ok());
}
