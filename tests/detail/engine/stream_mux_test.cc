// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/engine/stream_mux_impl.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/inference.h"
#include "support/inference.h"
#include "support/open_inference.h"

using inferwire::CallInfo;
using inferwire::CallOptions;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::InferResult;
using inferwire::Model;
using inferwire::OpenInference;
using inferwire::ResponseStream;
using namespace inferwire_test;  // NOLINT
namespace oip = inferwire::open_inference;

namespace {

// A constant, since g++ 12 takes a literal of this length for out of bounds where it optimises.
const std::string kFinal = "triton_final_response";

// Catch2 counts on one thread alone; elsewhere what must hold ends the test.
void Must(bool holds) {
  if (!holds) std::abort();
}

// A server's end of one ModelStreamInfer, as Triton speaks it.
class Stream {
 public:
  explicit Stream(RawCall& call) : call_(call) {}

  std::optional<oip::ModelInferRequest> Read() {
    const auto bytes = call_.Read();
    if (!bytes.has_value()) return std::nullopt;
    oip::ModelInferRequest request;
    Must(request.ParseFromString(*bytes));
    return request;
  }
  // A number, as the output "n".
  bool Answer(const std::string& id, std::int32_t n, bool last = false) {
    oip::ModelStreamInferResponse message;
    auto& response = *message.mutable_infer_response();
    response.set_id(id);
    (*response.mutable_parameters())[kFinal].set_bool_param(last);
    auto& output = *response.add_outputs();
    output.set_name("n");
    output.set_datatype("INT32");
    output.add_shape(1);
    response.add_raw_output_contents(std::string(reinterpret_cast<const char*>(&n), sizeof n));
    return call_.Write(message.SerializeAsString());
  }
  bool End(const std::string& id) {
    oip::ModelStreamInferResponse message;
    message.mutable_infer_response()->set_id(id);
    (*message.mutable_infer_response()->mutable_parameters())[kFinal].set_bool_param(true);
    return call_.Write(message.SerializeAsString());
  }
  bool Error(const std::string& id, const std::string& text, std::optional<bool> last = std::nullopt) {
    oip::ModelStreamInferResponse message;
    message.set_error_message(text);
    message.mutable_infer_response()->set_id(id);
    if (last) (*message.mutable_infer_response()->mutable_parameters())[kFinal].set_bool_param(*last);
    return call_.Write(message.SerializeAsString());
  }
  // As servers that do not say which answer is the last; some leave the id out too.
  bool Unmarked(const std::string& id, std::int32_t n) {
    oip::ModelStreamInferResponse message;
    auto& response = *message.mutable_infer_response();
    response.set_id(id);
    auto& output = *response.add_outputs();
    output.set_name("n");
    output.set_datatype("INT32");
    output.add_shape(1);
    response.add_raw_output_contents(std::string(reinterpret_cast<const char*>(&n), sizeof n));
    return call_.Write(message.SerializeAsString());
  }

 private:
  RawCall& call_;
};

std::int32_t NumberIn(const oip::ModelInferRequest& request) {
  std::int32_t n = 0;
  Must(request.raw_input_contents_size() == 1);
  std::memcpy(&n, request.raw_input_contents(0).data(), sizeof n);
  return n;
}

// Answers each request with the numbers below the one it carries, the requests in turn.
void CountUp(RawCall& call) {
  Stream stream(call);
  while (const auto request = stream.Read()) {
    const std::int32_t n = NumberIn(*request);
    for (std::int32_t i = 0; i < n; ++i) {
      if (!stream.Answer(request->id(), i)) return;
    }
    if (!stream.End(request->id())) return;
  }
}

InferenceClient<OpenInference> Speak(const std::string& target, inferwire::ClientOptions options = {}) {
  return InferenceClient<OpenInference>(Connect(target, std::move(options)));
}
InferenceClient<OpenInference> SpeakTo(const std::vector<std::string>& targets,
                                       inferwire::TargetOrder order = inferwire::TargetOrder::kBalanced) {
  auto client =
      inferwire::Client::Create({.targets = targets, .credentials = inferwire::Insecure(), .target_order = order});
  REQUIRE(client.ok());
  return InferenceClient<OpenInference>(*std::move(client));
}
Model Unchecked(const InferenceClient<OpenInference>& client, bool over_stream = false) {
  return client.GetModel("m", {.check = false, .over_stream = over_stream});
}
InferRequest Number(std::int32_t n) { return {{"n", std::vector<std::int32_t>{n}, {1}}}; }
// All that comes, which the stream's status then tells the end of.
std::vector<std::int32_t> NumbersOf(ResponseStream<InferResult>& stream) {
  std::vector<std::int32_t> numbers;
  for (const InferResult& result : stream) {
    const auto n = result.Get<std::int32_t>("n");
    REQUIRE(n.ok());
    numbers.push_back(n->front());
  }
  return numbers;
}
std::vector<std::int32_t> Below(std::int32_t n) {
  std::vector<std::int32_t> numbers;
  for (std::int32_t i = 0; i < n; ++i) numbers.push_back(i);
  return numbers;
}
std::int32_t NumberOf(const InferResult& result) {
  const auto n = result.Get<std::int32_t>("n");
  REQUIRE(n.ok());
  return n->front();
}

}  // namespace

TEST_CASE("requests to one model travel on one stream, each with its own answers", "[shared_stream]") {
  RawServer server([](RawCall& call) {
    Stream stream(call);
    std::vector<std::string> ids;
    for (int i = 0; i < 3; ++i) {
      const auto request = stream.Read();
      Must(request.has_value() && request->parameters().at("triton_enable_empty_final_response").bool_param());
      ids.push_back(request->id());
    }
    // Interleaved, the last first.
    for (std::int32_t n = 0; n < 100; ++n) {
      for (int i = 2; i >= 0; --i) Must(stream.Answer(ids[static_cast<std::size_t>(i)], 1000 * i + n));
    }
    for (const std::string& id : ids) stream.End(id);
    call.Read();
  });
  const auto client = Speak(server.target());
  InferRequest named = Number(0);
  named.set_id("mine/with a slash");
  std::vector<ResponseStream<InferResult>> streams;
  streams.push_back(client.GetModel("a", {.check = false}).StreamInfer(Number(0)));
  streams.push_back(client.GetModel("a", {.check = false}).StreamInfer(named));
  streams.push_back(client.GetModel("a", {.check = false}).StreamInfer(Number(0)));
  for (std::int32_t i = 0; i < 3; ++i) {
    std::int32_t next = 1000 * i;
    for (const InferResult& result : streams[static_cast<std::size_t>(i)]) {
      REQUIRE(NumberOf(result) == next++);
      CHECK(result.id() == (i == 1 ? "mine/with a slash" : ""));
    }
    CHECK(next == 1000 * i + 100);
    CHECK(streams[static_cast<std::size_t>(i)].status().ok());
  }
  CHECK(server.calls() == 1);
  CHECK(streams[0].stats().messages == 100);
}

TEST_CASE("models have a stream each, and their objects share it", "[shared_stream]") {
  Event ended;
  std::mutex mutex;
  std::vector<std::set<std::string>> streams;
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    std::set<std::string> models;
    while (const auto request = stream.Read()) {
      models.insert(request->model_name());
      stream.Answer(request->id(), 1, /*last=*/true);
    }
    std::lock_guard lock(mutex);
    streams.push_back(models);
    if (streams.size() == 2) ended.Set();
  });
  {
    const auto client = Speak(server.target());
    for (int i = 0; i < 3; ++i) {
      for (const std::string name : {"decoupled", "ordinary"}) {
        const auto model = client.GetModel(name, {.check = false, .over_stream = true});
        CHECK(model.Infer(Number(i)).ok());
        auto answers = client.GetModel(name, {.check = false}).StreamInfer(Number(i));
        CHECK(answers.Read().has_value());
        CHECK_FALSE(answers.Read().has_value());
      }
    }
    CHECK(server.calls() == 2);
    // Names that are not used any more are not remembered; those in use are.
    const auto kept = client.GetModel("ordinary", {.check = false, .over_stream = true});
    for (int i = 0; i < 1000; ++i) static_cast<void>(client.GetModel(std::to_string(i), {.check = false}));
    CHECK(kept.Infer(Number(0)).ok());
    CHECK(server.calls() == 2);
  }
  REQUIRE(ended.Wait());
  for (const auto& models : streams) CHECK(models.size() == 1);
}

TEST_CASE("an error that the server tells of one request ends that alone, with a code", "[shared_stream]") {
  RawServer server([](RawCall& call) {
    Stream stream(call);
    const auto a = stream.Read(), b = stream.Read();
    Must(b.has_value());
    stream.Answer(a->id(), 1);
    stream.Error(a->id(), "Request for unknown model: 'm' is not found");
    stream.Answer(b->id(), 2);
    stream.End(b->id());
    call.Read();
  });
  const auto client = Speak(server.target());
  auto a = Unchecked(client).StreamInfer(Number(0)), b = Unchecked(client).StreamInfer(Number(0));
  CHECK(NumberOf(*a.Read()) == 1);
  CHECK_FALSE(a.Read().has_value());
  CHECK(a.status().code() == absl::StatusCode::kNotFound);
  CHECK(Contains(a.status(), "unknown model"));
  CHECK(NumberOf(*b.Read()) == 2);
  CHECK_FALSE(b.Read().has_value());
  CHECK(b.status().ok());
}

TEST_CASE("an in-band error has the code that its words stand for", "[shared_stream]") {
  const auto code = [](const char* text) { return inferwire::OpenInferenceCodec::StreamError(text).code(); };
  CHECK(code("Request for unknown model: 'x' is not found") == absl::StatusCode::kNotFound);
  CHECK(code("Request for unknown model: 'x' has no available versions") == absl::StatusCode::kNotFound);
  CHECK(code("Exceeds maximum queue size") == absl::StatusCode::kUnavailable);
  CHECK(code("unexpected shape for input 'x' for model 'm'. Expected [1], got [2].") ==
        absl::StatusCode::kInvalidArgument);
  CHECK(code("expected 2 inputs but got 1 inputs for model 'm'") == absl::StatusCode::kInvalidArgument);
  CHECK(code("[request id: 3/a] expected 2 inputs but got 1 inputs for model 'm'. Got inputs ['a']") ==
        absl::StatusCode::kInvalidArgument);
  CHECK(code("[request id: <id_unknown>] inference request for sequence 7 to model 'm' must specify the START flag on "
             "the first request of the sequence") == absl::StatusCode::kInvalidArgument);
  CHECK(code("Request for unknown model: 'a model' version 3 is not at ready state") == absl::StatusCode::kUnavailable);
}

TEST_CASE("what a model says of its own troubles is INTERNAL, whatever words it uses", "[shared_stream][trap]") {
  for (const std::string text :
       {"something else", "downstream store is unavailable", "CUDA out of memory. You must free some",
        "the store said: Exceeds maximum queue size", "Failed to process: Request for unknown model: 'x' is not found",
        "expected 3 channels", "unexpected shape for input", "invalid token", "operation cancelled by the scheduler",
        "int8 is not supported", "the index is not ready", "missing key", "[request id: 7] the shard timeout expired",
        "expected 'a' inputs but got 'b' inputs for model 'm'", ""}) {
    CAPTURE(text);
    const absl::Status status = inferwire::OpenInferenceCodec::StreamError(text);
    CHECK(status.code() == absl::StatusCode::kInternal);
    CHECK(status.message() == text);
    CHECK_FALSE(OpenInference::Draining(status));
  }
  // It is not run again for it.
  std::atomic<int> runs{0};
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    while (const auto request = stream.Read()) {
      ++runs;
      stream.Error(request->id(), "downstream store is unavailable", /*last=*/true);
    }
  });
  const auto client = Speak(server.target());
  CHECK(Unchecked(client, true).Infer(Number(1)).status().code() == absl::StatusCode::kInternal);
  auto stream = Unchecked(client).StreamInfer(Number(1));
  CHECK(NumbersOf(stream).empty());
  CHECK(stream.status().code() == absl::StatusCode::kInternal);
  CHECK(runs == 2);
}

TEST_CASE("what still comes for an attempt that failed is not taken for the next one", "[shared_stream][trap]") {
  std::set<std::string> ids;
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    std::string before;
    while (const auto request = stream.Read()) {
      ids.insert(request->id());
      if (before.empty()) {
        before = request->id();
        stream.Error(before, "Exceeds maximum queue size");
        continue;
      }
      // Late: an answer's worth, and the end of the first.
      stream.End(before);
      stream.Answer(request->id(), 7);
      stream.End(request->id());
      before.clear();
    }
  });
  const auto client = Speak(server.target());
  InferRequest request = Number(1);
  request.set_id("mine");
  auto stream = Unchecked(client).StreamInfer(request);
  const auto first = stream.Read();
  REQUIRE(first.has_value());
  CHECK(NumberOf(*first) == 7);
  CHECK(first->id() == "mine");
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().ok());
  const auto unary = Unchecked(client, true).Infer(request);
  REQUIRE(unary.ok());
  CHECK(NumberOf(*unary) == 7);
  CHECK(unary->id() == "mine");
  CHECK(server.calls() == 1);
  CHECK(ids.size() == 4);
}

TEST_CASE("calls that were given the same id are told apart, and each result has it", "[shared_stream]") {
  RawServer server([](RawCall& call) {
    Stream stream(call);
    const auto a = stream.Read(), b = stream.Read();
    Must(b.has_value() && a->id() != b->id());
    for (const auto* request : {&b, &a}) stream.Answer((*request)->id(), NumberIn(**request), /*last=*/true);
    call.Read();
  });
  const auto client = Speak(server.target());
  InferRequest a = Number(1), b = Number(2);
  a.set_id("7/same");
  b.set_id("7/same");
  auto first = Unchecked(client).StreamInfer(a);
  auto second = Unchecked(client, true).AsyncInfer(b);
  const auto one = first.Read();
  const auto two = std::move(second).Get();
  REQUIRE(one.has_value());
  REQUIRE(two.ok());
  CHECK(NumberOf(*one) == 1);
  CHECK(NumberOf(*two) == 2);
  CHECK(one->id() == "7/same");
  CHECK(two->id() == "7/same");
}

TEST_CASE("an id that is not UTF-8 is refused on a shared stream too", "[shared_stream]") {
  RawServer server(CountUp);
  const auto client = Speak(server.target());
  InferRequest request = Number(1);
  request.set_id("\xff");
  const absl::Status status = Unchecked(client, true).Infer(request).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Contains(status, "the request's id"));
  CHECK(Unchecked(client).StreamInfer(request).Finish().code() == absl::StatusCode::kInvalidArgument);
  CHECK(server.calls() == 0);
}

TEST_CASE("a request takes its id without a copy of what it carries", "[shared_stream]") {
  InferRequest request{{"x", std::vector<float>(100000, 1.0f), {100000}}};
  request.set_model("m");
  const auto bare = OpenInference::Encode(request);
  REQUIRE(bare.ok());
  const auto named = OpenInference::WithId(*bare, "9/mine");
  REQUIRE(named.slices().size() == bare->slices().size() + 1);
  for (std::size_t i = 0; i < bare->slices().size(); ++i) {
    const grpc::Slice &there = named.slices()[i + 1], &here = bare->slices()[i];
    CHECK((there.begin() == here.begin() || here.size() < 100));  // gRPC keeps the least in place
  }
  oip::ModelInferRequest message;
  REQUIRE(message.ParseFromString(BytesOf(named)));
  CHECK(message.id() == "9/mine");
  CHECK(message.model_name() == "m");
  CHECK(message.raw_input_contents(0).size() == 400000);
}

TEST_CASE("a model may answer nothing at all", "[shared_stream]") {
  RawServer server(CountUp);
  const auto client = Speak(server.target());
  auto none = Unchecked(client).StreamInfer(Number(0));
  CHECK_FALSE(none.Read().has_value());
  CHECK(none.status().ok());
}

TEST_CASE("the only request on a stream is cancelled on the server when it is dropped", "[shared_stream]") {
  Event cancelled;
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    const auto request = stream.Read();
    stream.Answer(request->id(), 1);
    call.WaitForCancel();
    cancelled.Set();
  });
  const auto client = Speak(server.target());
  {
    auto stream = Unchecked(client).StreamInfer(Number(0));
    CHECK(NumberOf(*stream.Read()) == 1);
  }
  CHECK(cancelled.Wait());
}

TEST_CASE("a request that is dropped leaves the others alone, and its stream ends with theirs", "[shared_stream]") {
  Event dropped, cancelled;
  std::atomic<int> streams{0};
  RawServer server([&](RawCall& call) {
    if (++streams == 2) return CountUp(call);
    Stream stream(call);
    const auto a = stream.Read(), b = stream.Read();
    stream.Answer(a->id(), 1);
    dropped.Wait();
    // What comes for the one that is gone is ignored.
    for (std::int32_t i = 0; i < 50; ++i) stream.Answer(a->id(), i);
    for (std::int32_t i = 0; i < 50; ++i) stream.Answer(b->id(), i);
    stream.End(b->id());
    call.WaitForCancel();
    cancelled.Set();
  });
  const auto client = Speak(server.target());
  auto a = std::make_optional(Unchecked(client).StreamInfer(Number(0)));
  auto b = Unchecked(client).StreamInfer(Number(0));
  CHECK(NumberOf(*a->Read()) == 1);
  a.reset();
  // New requests do not join a stream that is to be cancelled.
  auto c = Unchecked(client).StreamInfer(Number(3));
  dropped.Set();
  std::int32_t next = 0;
  for (const InferResult& result : b) CHECK(NumberOf(result) == next++);
  CHECK(next == 50);
  CHECK(b.status().ok());
  CHECK(cancelled.Wait());
  next = 0;
  for (const InferResult& result : c) CHECK(NumberOf(result) == next++);
  CHECK(next == 3);
  CHECK(server.calls() == 2);
}

TEST_CASE("a reader that does not read keeps nobody else from their answers", "[shared_stream]") {
  RawServer server(CountUp);
  const auto client = Speak(server.target());
  auto unread = Unchecked(client).StreamInfer(Number(2000));
  auto read = Unchecked(client).StreamInfer(Number(10));  // answered behind the 2000
  std::int32_t next = 0;
  for (const InferResult& result : read) REQUIRE(NumberOf(result) == next++);
  CHECK(next == 10);
  next = 0;
  for (const InferResult& result : unread) REQUIRE(NumberOf(result) == next++);
  CHECK(next == 2000);
}

TEST_CASE("where nobody waits, a reader that does not read holds the server back", "[shared_stream]") {
  std::atomic<int> written{0};
  RawServer server([&](RawCall& call) {
    const auto request = Stream(call).Read();
    oip::ModelStreamInferResponse message;
    message.mutable_infer_response()->set_id(request->id());
    (*message.mutable_infer_response()->mutable_parameters())["s"].set_string_param(std::string(1 << 20, 'x'));
    message.mutable_infer_response()->add_outputs()->set_datatype("INT32");
    message.mutable_infer_response()->add_raw_output_contents("1234");
    const std::string bytes = message.SerializeAsString();
    for (; written < 1000; ++written) {
      if (!call.Write(bytes)) return;
    }
  });
  const auto client = Speak(server.target());
  auto stream = Unchecked(client).StreamInfer(Number(0));
  for (int i = 0; i < 20; ++i) REQUIRE(stream.Read().has_value());
  CHECK(written < 100);
}

TEST_CASE("a server that dies ends every request on the stream, and those that have begun are not begun again",
          "[shared_stream]") {
  std::atomic<int> streams{0};
  RawServer server([&](RawCall& call) {
    if (++streams > 1) return CountUp(call);
    Stream stream(call);
    const auto a = stream.Read(), b = stream.Read();
    stream.Answer(a->id(), 7);
    call.Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"));
  });
  const auto client = Speak(server.target());
  auto a = Unchecked(client).StreamInfer(Number(2)), b = Unchecked(client).StreamInfer(Number(2));
  CHECK(NumberOf(*a.Read()) == 7);
  CHECK_FALSE(a.Read().has_value());
  CHECK(a.status().code() == absl::StatusCode::kUnavailable);
  CHECK(Contains(a.status(), "gone"));
  // The other had nothing yet, and is tried again.
  std::int32_t next = 0;
  for (const InferResult& result : b) CHECK(NumberOf(result) == next++);
  CHECK(next == 2);
  CHECK(b.status().ok());
  CHECK(server.calls() == 2);
}

TEST_CASE("a stream that cannot be understood fails all requests on it", "[shared_stream][trap]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.Write("\xff\xff\xff");
    call.WaitForCancel();
  });
  const auto client = Speak(server.target(), {.retry = {.max_attempts = 1}});
  auto stream = Unchecked(client).StreamInfer(Number(0));
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kInternal);
}

TEST_CASE("a server that ends a stream with OK before it has answered is told of", "[shared_stream][trap]") {
  RawServer server([](RawCall& call) { call.Read(); });
  const auto client = Speak(server.target(), {.retry = {.max_attempts = 1}});
  auto stream = Unchecked(client).StreamInfer(Number(0));
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kUnavailable);
  CHECK(Contains(stream.status(), "before it had answered"));
}

TEST_CASE("a call with headers of its own has a stream of its own", "[shared_stream]") {
  std::mutex mutex;
  std::multimap<std::string, int> tenants;
  RawServer server([&](RawCall& call) {
    {
      std::lock_guard lock(mutex);
      tenants.emplace(call.header("x-tenant"), 0);
    }
    CountUp(call);
  });
  const auto client = Speak(server.target());
  auto shared = Unchecked(client).StreamInfer(Number(1));
  CHECK(shared.Read().has_value());
  auto own = Unchecked(client).StreamInfer(Number(3), {.metadata = {{"x-tenant", "a"}}});
  // It does not ask for an end: the server ends the call when it is done.
  int seen = 0;
  for (const InferResult& result : own) seen += result.outputs().empty() ? 0 : 1;
  CHECK(seen == 3);
  CHECK(own.status().ok());
  std::lock_guard lock(mutex);
  CHECK(tenants.count("a") == 1);
  CHECK(tenants.count("") == 1);
}

TEST_CASE("unary inference travels on the stream with the same semantics", "[shared_stream]") {
  std::atomic<int> failures{1};
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    while (const auto request = stream.Read()) {
      std::int32_t n = 0;
      std::memcpy(&n, request->raw_input_contents(0).data(), sizeof n);
      if (n == -1) continue;  // never
      if (n == -2) {
        stream.Error(request->id(), "expected 1 inputs but got 2 inputs for model 'm'");
      } else if (n == -3 && failures-- > 0) {
        stream.Error(request->id(), "Exceeds maximum queue size");
      } else {
        stream.Answer(request->id(), n + 1, /*last=*/true);
      }
    }
  });
  const auto client = Speak(server.target());
  const auto model = Unchecked(client, /*over_stream=*/true);
  for (std::int32_t n = 0; n < 100; ++n) {
    const auto result = model.Infer(Number(n));
    REQUIRE(result.ok());
    CHECK(NumberOf(*result) == n + 1);
  }
  CHECK(server.calls() == 1);
  std::vector<inferwire::Future<InferResult>> futures;
  for (std::int32_t n = 0; n < 200; ++n) futures.push_back(model.AsyncInfer(Number(n)));
  for (std::int32_t n = 0; n < 200; ++n) {
    const auto result = std::move(futures[static_cast<std::size_t>(n)]).Get();
    REQUIRE(result.ok());
    CHECK(NumberOf(*result) == n + 1);
  }
  CHECK(model.Infer(Number(-2)).status().code() == absl::StatusCode::kInvalidArgument);
  // Tried again, as an error of a call's own would be.
  CallInfo info;
  CHECK(model.Infer(Number(-3), {.info = &info}).ok());
  CHECK(info.attempts.size() == 2);
  CHECK(info.attempts[0].target == server.target());
  CHECK(info.attempts[0].peer == "ipv4:" + server.target());
  CHECK(server.calls() == 1);
  // One that is late ends by itself; the stream is left to those that wait.
  CHECK(model.Infer(Number(-1), {.timeout = absl::Milliseconds(20)}).status().code() ==
        absl::StatusCode::kDeadlineExceeded);
  std::stop_source stop;
  auto cancelled = model.AsyncInfer(Number(-1), {.stop = stop.get_token()});
  stop.request_stop();
  CHECK(std::move(cancelled).Get().status().code() == absl::StatusCode::kCancelled);
  CHECK(NumberOf(*model.Infer(Number(5))) == 6);
}

TEST_CASE("requests are spread over the servers as calls are, on a stream to each", "[shared_stream]") {
  std::atomic<int> seen[2] = {0, 0};
  const auto answer = [&](std::size_t which) {
    return [&seen, which](RawCall& call) {
      Stream stream(call);
      while (const auto request = stream.Read()) {
        ++seen[which];
        stream.Answer(request->id(), 1, /*last=*/true);
      }
    };
  };
  RawServer first(answer(0)), second(answer(1));
  const auto client = SpeakTo({first.target(), second.target()});
  const auto model = Unchecked(client, /*over_stream=*/true);
  std::vector<inferwire::Future<InferResult>> futures;
  for (int i = 0; i < 400; ++i) futures.push_back(model.AsyncInfer(Number(i)));
  for (auto& future : futures) CHECK(std::move(future).Get().ok());
  CHECK(seen[0] >= 50);
  CHECK(seen[1] >= 50);
  CHECK(first.calls() == 1);
  CHECK(second.calls() == 1);
  for (const auto& target : client.client().Stats().targets) {
    CHECK(target.in_flight == 1);  // the stream
    CHECK(target.channels == 1);
  }
}

TEST_CASE("what cannot reach one server travels to another, even if it may not run twice", "[shared_stream]") {
  RawServer server(CountUp);
  std::string gone;
  {
    RawServer short_lived(CountUp);
    gone = short_lived.target();
  }
  const auto client = SpeakTo({gone, server.target()}, inferwire::TargetOrder::kPriority);
  CallInfo info;
  const auto result = Unchecked(client, /*over_stream=*/true).Infer(Number(1), {.idempotent = false, .info = &info});
  CHECK(result.ok());
  REQUIRE(info.attempts.size() == 2);
  CHECK(info.attempts[0].target == gone);
  CHECK(info.attempts[0].code == absl::StatusCode::kUnavailable);
  CHECK(info.attempts[1].target == server.target());
  // The first step of a sequence too: nothing was sent so far.
  const auto other = SpeakTo({gone, server.target()}, inferwire::TargetOrder::kPriority);
  auto sequence = Unchecked(other).Sequence(7);
  CHECK(sequence.Step(Number(1)).ok());
  CHECK(sequence.End(Number(1)).ok());
}

TEST_CASE("a server that refuses new requests is left alone, and its stream ends so that it can go",
          "[shared_stream]") {
  std::atomic<bool> draining{false};
  std::atomic<int> refused{0};
  Event ended;
  RawServer first([&](RawCall& call) {
    Stream stream(call);
    while (const auto request = stream.Read()) {
      if (draining) {
        ++refused;
        stream.Error(request->id(), "Server is stopping, has stopped accepting new inference requests");
      } else {
        stream.Answer(request->id(), 1, /*last=*/true);
      }
    }
    ended.Set();
  });
  RawServer second(CountUp);
  const auto client = SpeakTo({first.target(), second.target()}, inferwire::TargetOrder::kPriority);
  const auto model = Unchecked(client, /*over_stream=*/true);
  CHECK(model.Infer(Number(1)).ok());
  CHECK(first.calls() == 1);
  draining = true;
  CallInfo info;
  CHECK(model.Infer(Number(1), {.idempotent = false, .info = &info}).ok());
  REQUIRE(info.attempts.size() == 2);
  CHECK(info.attempts[0].code == absl::StatusCode::kUnavailable);
  CHECK(info.attempts[1].target == second.target());
  CHECK(ended.Wait());
  for (int i = 0; i < 20; ++i) CHECK(model.Infer(Number(1), {.idempotent = false}).ok());
  CHECK(refused < 10);
}

TEST_CASE("errors that a server tells of requests do not make it a bad server", "[shared_stream]") {
  RawServer first([](RawCall& call) {
    Stream stream(call);
    while (const auto request = stream.Read()) stream.Error(request->id(), "no such thing");
  });
  RawServer second(CountUp);
  const auto client = SpeakTo({first.target(), second.target()}, inferwire::TargetOrder::kPriority);
  const auto model = Unchecked(client, /*over_stream=*/true);
  for (int i = 0; i < 50; ++i) CHECK(model.Infer(Number(1)).status().code() == absl::StatusCode::kInternal);
  CHECK(first.calls() == 1);
  CHECK(second.calls() == 0);
  CHECK(client.client().Stats().targets.at(0).ejections == 0);
}

TEST_CASE("shutting a client down ends what travels on its streams", "[shared_stream]") {
  RawServer server([](RawCall& call) {
    call.Read();
    call.WaitForCancel();
  });
  const auto client = Speak(server.target());
  auto stream = Unchecked(client).StreamInfer(Number(0));
  auto unary = Unchecked(client, true).AsyncInfer(Number(0));
  client.client().Shutdown();
  CHECK_FALSE(stream.Read().has_value());
  CHECK(stream.status().code() == absl::StatusCode::kCancelled);
  CHECK(std::move(unary).Get().status().code() == absl::StatusCode::kCancelled);
}

TEST_CASE("requests dropped at any moment leave nothing behind and disturb nobody", "[shared_stream]") {
  RawServer server(CountUp);
  const auto client = Speak(server.target());
  std::atomic<bool> done{false};
  std::atomic<int> whole{0};
  // One that is in nobody's way.
  std::thread steady([&] {
    while (!done) {
      auto stream = Unchecked(client).StreamInfer(Number(20));
      std::int32_t next = 0;
      for (const InferResult& result : stream) Must(result.Get<std::int32_t>("n")->front() == next++);
      Must(stream.status().ok());
      Must(next == 20);
      ++whole;
    }
  });
  std::vector<std::thread> droppers;
  for (unsigned seed = 0; seed < 2; ++seed) {
    droppers.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (int round = 0; round < 500; ++round) {
        auto stream = Unchecked(client).StreamInfer(Number(static_cast<std::int32_t>(random() % 40)));
        for (auto reads = random() % 40; reads > 0; --reads) {
          if (!stream.Read().has_value()) break;
        }
        if (random() % 4 == 0) stream.Cancel();
        auto unary = Unchecked(client, true).AsyncInfer(Number(1));
        if (random() % 2 == 0) Must(std::move(unary).Get().ok());
      }
    });
  }
  for (std::thread& dropper : droppers) dropper.join();
  done = true;
  steady.join();
  CHECK(whole > 0);
}

TEST_CASE("a thousand requests at once share a stream", "[shared_stream]") {
  RawServer server(CountUp);
  const auto client = Speak(server.target());
  std::vector<ResponseStream<InferResult>> streams;
  for (int i = 0; i < 1000; ++i) streams.push_back(Unchecked(client).StreamInfer(Number(5)));
  for (auto& stream : streams) {
    std::int32_t next = 0;
    for (const InferResult& result : stream) REQUIRE(NumberOf(result) == next++);
    REQUIRE(next == 5);
    REQUIRE(stream.status().ok());
  }
  CHECK(server.calls() == 1);
}

TEST_CASE("Infer over a stream of a model that answers several times is an error, and the server stops",
          "[shared_stream][trap]") {
  Event stopped;
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    while (const auto request = stream.Read()) {
      if (NumberIn(*request) == 1) {
        stream.Answer(request->id(), 1);
        stream.End(request->id());
        continue;
      }
      for (std::int32_t i = 0; stream.Answer(request->id(), i); ++i) {
      }
      stopped.Set();
    }
  });
  const auto client = Speak(server.target());
  const auto model = Unchecked(client, /*over_stream=*/true);
  // One answer, and then the word that there is no other.
  const auto one = model.Infer(Number(1));
  REQUIRE(one.ok());
  CHECK(NumberOf(*one) == 1);
  CallInfo info;
  const absl::Status many = model.Infer(Number(2), {.info = &info}).status();
  CHECK(many.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(many, "StreamInfer"));
  CHECK(info.attempts.size() == 1);
  CHECK(stopped.Wait());
  CHECK(server.calls() == 1);
  CHECK(client.client().Stats().targets.at(0).failures == 0);
}

TEST_CASE("a server that goes on behind an error is stopped when nobody else is on the stream", "[shared_stream]") {
  for (const std::optional<bool> last : {std::optional<bool>(false), std::optional<bool>()}) {
    Event stopped;
    RawServer server([&](RawCall& call) {
      Stream stream(call);
      const auto request = stream.Read();
      stream.Error(request->id(), "poison", last);
      for (std::int32_t i = 0; stream.Answer(request->id(), i); ++i) {
      }
      stopped.Set();
    });
    const auto client = Speak(server.target());
    auto stream = Unchecked(client).StreamInfer(Number(0));
    CHECK(NumbersOf(stream).empty());
    CHECK(stream.status().code() == absl::StatusCode::kInternal);
    CHECK(stopped.Wait());
  }
}

TEST_CASE("a request that ends the stream ends itself alone", "[shared_stream][trap]") {
  for (const auto code :
       {grpc::INVALID_ARGUMENT, grpc::RESOURCE_EXHAUSTED, grpc::INTERNAL, grpc::UNKNOWN, grpc::ABORTED,
        grpc::UNAUTHENTICATED, grpc::CANCELLED, grpc::DEADLINE_EXCEEDED, grpc::UNAVAILABLE}) {
    CAPTURE(code);
    constexpr std::int32_t kPoison = -1;
    std::atomic<int> streams{0}, shared{0};
    RawServer server([&](RawCall& call) {
      const bool first = ++streams == 1;
      Stream stream(call);
      std::vector<oip::ModelInferRequest> requests;
      while (const auto request = stream.Read()) {
        requests.push_back(*request);
        if (!first || requests.size() == 5) break;
      }
      bool poisoned = false;
      for (const auto& request : requests) poisoned = poisoned || NumberIn(request) == kPoison;
      if (!first) shared += stream.Read().has_value() ? 1 : 0;
      if (poisoned) {
        if (first) stream.Answer(requests.front().id(), 0);
        return call.Finish(grpc::Status(code, "this is more than I take"));
      }
      for (const auto& request : requests) {
        for (std::int32_t i = 0; i < NumberIn(request); ++i) stream.Answer(request.id(), i, i + 1 == NumberIn(request));
      }
    });
    const auto client = Speak(server.target());
    auto begun = Unchecked(client).StreamInfer(Number(3));
    auto one = Unchecked(client).StreamInfer(Number(4));
    auto poison = Unchecked(client).StreamInfer(Number(kPoison));
    auto two = Unchecked(client).StreamInfer(Number(5));
    auto unary = Unchecked(client, true).AsyncInfer(Number(1));
    CHECK(NumbersOf(one) == Below(4));
    CHECK(one.status().ok());
    CHECK(NumbersOf(two) == Below(5));
    CHECK(two.status().ok());
    const auto answer = std::move(unary).Get();
    CHECK(answer.ok());
    CHECK(NumbersOf(poison).empty());
    CHECK(poison.status().code() == static_cast<absl::StatusCode>(code));
    CHECK(Contains(poison.status(), "this is more than I take"));
    CHECK(NumbersOf(begun) == Below(1));
    CHECK(begun.status().code() == absl::StatusCode::kUnavailable);
    CHECK(Contains(begun.status(), "perhaps by another request"));
    CHECK(Contains(begun.status(), "this is more than I take"));
    CHECK(shared == 0);
  }
}

TEST_CASE("a neighbour that may not run twice is told that another may have ended the stream",
          "[shared_stream][trap]") {
  std::atomic<int> runs{0};
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    stream.Answer(stream.Read()->id(), 1, /*last=*/true);
    const auto a = stream.Read(), b = stream.Read();
    if (!b.has_value()) return;
    ++runs;
    call.Finish(grpc::Status(grpc::INVALID_ARGUMENT, "not parsable"));
  });
  const auto client = Speak(server.target());
  const auto model = Unchecked(client, /*over_stream=*/true);
  CHECK(model.Infer(Number(1)).ok());
  auto a = model.AsyncInfer(Number(1), {.idempotent = false});
  auto b = Unchecked(client).StreamInfer(Number(1), {.idempotent = false});
  const absl::Status first = std::move(a).Get().status();
  CHECK(NumbersOf(b).empty());
  for (const absl::Status& status : {first, b.status()}) {
    CHECK(status.code() == absl::StatusCode::kUnavailable);
    CHECK(Contains(status, "perhaps by another request: INVALID_ARGUMENT: not parsable"));
  }
  CHECK(runs == 1);
  CHECK(server.calls() == 1);
}

TEST_CASE("who is alone on a stream is told how it ended", "[shared_stream]") {
  std::atomic<int> runs{0};
  RawServer server([&](RawCall& call) {
    Stream(call).Read();
    ++runs;
    call.Finish(grpc::Status(grpc::PERMISSION_DENIED, "not for you"));
  });
  const auto client = Speak(server.target());
  const absl::Status status = Unchecked(client, true).Infer(Number(1)).status();
  CHECK(status.code() == absl::StatusCode::kPermissionDenied);
  CHECK(runs == 1);
}

TEST_CASE("a server that takes one request a stream answers them all", "[shared_stream][trap]") {
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    if (const auto request = stream.Read()) stream.Answer(request->id(), NumberIn(*request), /*last=*/true);
  });
  const auto client = Speak(server.target());
  std::vector<inferwire::Future<InferResult>> futures;
  for (std::int32_t n = 0; n < 64; ++n) futures.push_back(Unchecked(client, true).AsyncInfer(Number(n)));
  for (std::int32_t n = 0; n < 64; ++n) {  // more than the budget has retries
    const auto result = std::move(futures[static_cast<std::size_t>(n)]).Get();
    REQUIRE(result.ok());
    CHECK(NumberOf(*result) == n);
  }
}

TEST_CASE("a server that does not mark its last answer ends the request with the stream", "[shared_stream][trap]") {
  for (const bool echoes : {true, false}) {
    CAPTURE(echoes);
    std::atomic<int> half_closed{0};
    RawServer server([&](RawCall& call) {
      Stream stream(call);
      while (const auto request = stream.Read()) {
        for (std::int32_t i = 0; i < NumberIn(*request); ++i) {
          if (!stream.Unmarked(echoes ? request->id() : "", i)) return;
        }
      }
      ++half_closed;
    });
    const auto client = Speak(server.target());
    InferRequest request = Number(3);
    request.set_id("mine");
    auto first = Unchecked(client).StreamInfer(request);
    CHECK(NumbersOf(first) == Below(3));
    CHECK(first.status().ok());
    CHECK(half_closed == 1);
    // From now on each has a stream to itself, however many there are, and with nothing to say too.
    std::vector<ResponseStream<InferResult>> streams;
    for (std::int32_t n = 0; n < 8; ++n) streams.push_back(Unchecked(client).StreamInfer(Number(n)));
    for (std::int32_t n = 0; n < 8; ++n) {
      CHECK(NumbersOf(streams[static_cast<std::size_t>(n)]) == Below(n));
      CHECK(streams[static_cast<std::size_t>(n)].status().ok());
    }
    CHECK(server.calls() == 9);
    const auto model = Unchecked(client, /*over_stream=*/true);
    const auto one = model.Infer(Number(1));
    REQUIRE(one.ok());
    CHECK(NumberOf(*one) == 0);
    CHECK(Contains(model.Infer(Number(2)).status(), "StreamInfer"));
    CHECK(model.Infer(Number(0)).status().code() == absl::StatusCode::kInternal);
  }
}

TEST_CASE("the first requests to a server that marks nothing, all at once, have their own answers",
          "[shared_stream][trap]") {
  for (const bool echoes : {true, false}) {
    CAPTURE(echoes);
    RawServer server([&](RawCall& call) {
      Stream stream(call);
      while (const auto request = stream.Read()) {
        for (std::int32_t i = 0; i < 3; ++i) {
          if (!stream.Unmarked(echoes ? request->id() : "", 10 * NumberIn(*request) + i)) return;
        }
      }
    });
    const auto client = Speak(server.target());
    std::vector<ResponseStream<InferResult>> streams;
    for (std::int32_t n = 0; n < 64; ++n) streams.push_back(Unchecked(client).StreamInfer(Number(n)));
    for (std::int32_t n = 0; n < 64; ++n) {
      CHECK(NumbersOf(streams[static_cast<std::size_t>(n)]) ==
            std::vector<std::int32_t>{10 * n, 10 * n + 1, 10 * n + 2});
      CHECK(streams[static_cast<std::size_t>(n)].status().ok());
    }
  }
}

TEST_CASE("what may not run twice goes alone to a server that is not known to mark its answers", "[shared_stream]") {
  std::mutex mutex;
  std::map<std::int32_t, int> runs;
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    while (const auto request = stream.Read()) {
      {
        std::lock_guard lock(mutex);
        ++runs[NumberIn(*request)];
      }
      stream.Unmarked("", NumberIn(*request));
    }
  });
  const auto client = Speak(server.target());
  std::vector<ResponseStream<InferResult>> streams;
  for (std::int32_t n = 0; n < 8; ++n)
    streams.push_back(Unchecked(client).StreamInfer(Number(n), {.idempotent = false}));
  for (std::int32_t n = 0; n < 8; ++n) {
    CHECK(NumbersOf(streams[static_cast<std::size_t>(n)]) == std::vector<std::int32_t>{n});
    CHECK(streams[static_cast<std::size_t>(n)].status().ok());
  }
  std::lock_guard lock(mutex);
  for (const auto& [n, count] : runs) CHECK(count == 1);
}

TEST_CASE("a server that marks its answers again is shared again", "[shared_stream]") {
  std::atomic<bool> marks{false};
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    while (const auto request = stream.Read()) {
      marks ? stream.Answer(request->id(), 1, /*last=*/true) : stream.Unmarked(request->id(), 1);
    }
  });
  const auto client = Speak(server.target());
  const auto model = Unchecked(client, /*over_stream=*/true);
  for (int i = 0; i < 3; ++i) CHECK(model.Infer(Number(1)).ok());
  CHECK(server.calls() == 3);
  marks = true;
  for (int i = 0; i < 10; ++i) CHECK(model.Infer(Number(1)).ok());
  CHECK(server.calls() == 5);
}

TEST_CASE("a server that answers behind the half-close is told of it", "[shared_stream][trap]") {
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    std::vector<std::int32_t> numbers;
    while (const auto request = stream.Read()) numbers.push_back(NumberIn(*request));
    for (const std::int32_t n : numbers) stream.Unmarked("", n);
  });
  const auto client = Speak(server.target());
  auto stream = Unchecked(client).StreamInfer(Number(5));
  CHECK(NumbersOf(stream) == std::vector<std::int32_t>{5});
  CHECK(stream.status().ok());
}

TEST_CASE("errors of a server that marks nothing end their requests", "[shared_stream]") {
  RawServer server([&](RawCall& call) {
    Stream stream(call);
    while (const auto request = stream.Read()) {
      if (NumberIn(*request) > 0) stream.Unmarked("", 0);
      stream.Error("", "no such luck");
    }
  });
  const auto client = Speak(server.target());
  for (const std::int32_t n : {0, 1, 0, 1}) {
    auto stream = Unchecked(client).StreamInfer(Number(n));
    CHECK(NumbersOf(stream) == Below(n));
    CHECK(stream.status().code() == absl::StatusCode::kInternal);
    CHECK(Contains(stream.status(), "no such luck"));
    CHECK(Unchecked(client, true).Infer(Number(n)).status().code() == absl::StatusCode::kInternal);
  }
}
