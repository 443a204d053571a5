// SPDX-License-Identifier: Apache-2.0
#include "inferwire/batcher.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/contract/open_inference.h"
#include "inferwire/contract/simple.h"
#include "inferwire/inference.h"
#include "inferwire/testing/fake_clock.h"
#include "server/server.h"
#include "support/inference.h"
#include "support/slow.h"

using inferwire::Batcher;
using inferwire::BatcherOptions;
using inferwire::CallInfo;
using inferwire::CallOptions;
using inferwire::Future;
using inferwire::InferenceClient;
using inferwire::InferRequest;
using inferwire::InferResult;
using inferwire::OpenInference;
using inferwire::Shape;
using inferwire::Simple;
using inferwire::testing::FakeClock;
using namespace inferwire_test;  // NOLINT

namespace {

constexpr absl::Duration kNever = absl::InfiniteDuration();

/// Answers twice of what came, and remembers how many rows came at a time. A test may hold it up or have it do else.
class Doubler {
 public:
  using Handler = std::function<void(RawCall&, const inference::Request&)>;

  explicit Doubler(Handler handler = nullptr)
      : handler_(std::move(handler)), server_([this](RawCall& call) { Do(call); }) {}

  static inference::Response Twice(const inference::Request& request) {
    inference::Response response;
    for (const float x : request.input()) response.add_output(2 * x);
    *response.mutable_shape() = request.shape();
    return response;
  }
  static void Answer(RawCall& call, const inference::Request& request) {
    call.Write(Twice(request).SerializeAsString());
  }

  std::string target() const { return server_.target(); }
  /// Of each call, in no order.
  std::vector<std::int64_t> rows() {
    std::lock_guard lock(mutex_);
    std::sort(rows_.begin(), rows_.end());
    return rows_;
  }

 private:
  void Do(RawCall& call) {
    const auto bytes = call.Read();
    inference::Request request;
    if (!bytes.has_value() || !request.ParseFromString(*bytes)) return;
    {
      std::lock_guard lock(mutex_);
      rows_.push_back(request.shape(0));
    }
    handler_ ? handler_(call, request) : Answer(call, request);
  }

  const Handler handler_;
  std::mutex mutex_;
  std::vector<std::int64_t> rows_;
  RawServer server_;
};

/// A batcher whose time stands still.
struct Batched {
  explicit Batched(const std::string& target, BatcherOptions options = {}, inferwire::ClientOptions client_options = {})
      : client(Connect(target, WithClock(std::move(client_options)))),
        batcher(std::in_place, InferenceClient<Simple>(client).GetModel("m"), options) {}
  inferwire::ClientOptions WithClock(inferwire::ClientOptions options) const {
    options.clock = clock;
    return options;
  }

  std::shared_ptr<FakeClock> clock = std::make_shared<FakeClock>();
  inferwire::Client client;
  std::optional<Batcher> batcher;
  Batcher* operator->() { return &*batcher; }
};

InferRequest Rows(std::vector<float> elements) {
  const auto rows = static_cast<std::int64_t>(elements.size());
  return {{"x", std::move(elements), {rows, 1}}};
}
InferRequest Row(float element) { return Rows({element}); }  // g++ 12 takes no braces next to co_await
std::vector<float> Output(const absl::StatusOr<InferResult>& result) {
  INFO(result.status().ToString());
  REQUIRE(result.ok());
  const auto output = result->Get<float>("output");
  REQUIRE(output.ok());
  return {output->begin(), output->end()};
}
using Floats = std::vector<float>;
using Counts = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("calls become one request, and each gets its own rows of the answer", "[batcher]") {
  Doubler server;
  Batched batched(server.target());
  auto a = batched->AsyncInfer(Rows({1}));
  auto b = batched->AsyncInfer(Rows({2, 3}));
  auto c = batched->AsyncInfer(Rows({4}));
  CHECK(batched.clock->UntilNext() == absl::Milliseconds(2));
  batched.clock->Advance(absl::Milliseconds(2));
  CHECK(Output(std::move(a).Get()) == Floats{2});
  const auto two = std::move(b).Get();
  CHECK(Output(two) == Floats{4, 6});
  CHECK((*two->Find("output"))->shape() == Shape{2, 1});
  CHECK(Output(std::move(c).Get()) == Floats{8});
  CHECK(server.rows() == Counts{4});
}

TEST_CASE("a full batch leaves at once", "[batcher]") {
  Doubler server;
  Batched batched(server.target(), {.max_batch = 3, .max_delay = kNever});
  auto a = batched->AsyncInfer(Rows({1}));
  CHECK(Output(batched->Infer(Rows({2, 3}))) == Floats{4, 6});
  CHECK(Output(std::move(a).Get()) == Floats{2});
  CHECK(server.rows() == Counts{3});
}

TEST_CASE("a batch without room for the next request leaves before it", "[batcher]") {
  Doubler server;
  Batched batched(server.target(), {.max_batch = 3, .max_delay = kNever});
  auto a = batched->AsyncInfer(Rows({1, 2}));
  auto b = batched->AsyncInfer(Rows({3, 4}));
  CHECK(Output(std::move(a).Get()) == Floats{2, 4});
  CHECK_FALSE(b.Ready());
  CHECK(Output(batched->Infer(Rows({5}))) == Floats{10});
  CHECK(Output(std::move(b).Get()) == Floats{6, 8});
  CHECK(server.rows() == Counts{2, 3});
}

TEST_CASE("the delay counts from the first of a batch", "[batcher]") {
  Doubler server;
  Batched batched(server.target());
  auto a = batched->AsyncInfer(Rows({1}));
  batched.clock->Advance(absl::Microseconds(1500));
  auto b = batched->AsyncInfer(Rows({2}));
  CHECK(batched.clock->UntilNext() == absl::Microseconds(500));
  batched.clock->Advance(absl::Microseconds(500));
  CHECK(Output(std::move(a).Get()) == Floats{2});
  CHECK(Output(std::move(b).Get()) == Floats{4});
  CHECK(server.rows() == Counts{2});
}

TEST_CASE("without a delay nobody waits", "[batcher]") {
  Doubler server;
  Batched batched(server.target(), {.max_delay = absl::ZeroDuration()});
  CHECK(Output(batched->Infer(Rows({1}))) == Floats{2});
  CHECK(Output(batched->Infer(Rows({2}))) == Floats{4});
  CHECK(server.rows() == Counts{1, 1});
}

TEST_CASE("with a bound on those under way, a batch grows until the one before has come back", "[batcher]") {
  Event arrived, go;
  Doubler server([&](RawCall& call, const inference::Request& request) {
    arrived.Set();
    go.Wait();
    Doubler::Answer(call, request);
  });
  Batched batched(server.target(), {.max_batch = 3, .max_delay = absl::ZeroDuration(), .max_in_flight = 1});
  std::vector<Future<InferResult>> futures;
  futures.push_back(batched->AsyncInfer(Rows({0})));  // the server is idle
  REQUIRE(arrived.Wait());
  for (int i = 1; i < 6; ++i) futures.push_back(batched->AsyncInfer(Rows({static_cast<float>(i)})));
  CHECK(server.rows() == Counts{1});
  go.Set();
  for (std::size_t i = 0; i < futures.size(); ++i) {
    CHECK(Output(std::move(futures[i]).Get()) == Floats{2 * static_cast<float>(i)});
  }
  CHECK(server.rows() == Counts{1, 2, 3});  // the five that had to wait: a full one, and the rest
}

TEST_CASE("requests that do not agree travel apart, whatever the order of their inputs", "[batcher]") {
  std::mutex mutex;
  std::vector<std::string> seen;
  RawServer server([&](RawCall& call) {
    inferwire::open_inference::ModelInferRequest request;
    if (!request.ParseFromString(call.Read().value_or("?"))) return;
    std::string text;
    inferwire::open_inference::ModelInferResponse response;
    for (int i = 0; i < request.inputs_size(); ++i) {
      text += request.inputs(i).name() + inferwire::Shape({request.inputs(i).shape().data(),
                                                           static_cast<std::size_t>(request.inputs(i).shape_size())})
                                             .ToString();
      auto* const output = response.add_outputs();
      output->set_name(request.inputs(i).name());
      output->set_datatype(request.inputs(i).datatype());
      *output->mutable_shape() = request.inputs(i).shape();
      response.add_raw_output_contents(request.raw_input_contents(i));
    }
    for (const auto& output : request.outputs()) text += ">" + std::string(output.name());
    std::lock_guard lock(mutex);
    seen.push_back(text);
    call.Write(response.SerializeAsString());
  });
  const auto clock = std::make_shared<FakeClock>();
  const InferenceClient<OpenInference> client(Connect(server.target(), {.clock = clock}));
  const Batcher batcher(client.GetModel("m", {.check = false}));
  const auto x = [](float value) { return inferwire::InferInput("x", std::vector<float>{value}, {1}); };
  const auto t = [](const std::string& text) {
    return inferwire::InferInput("t", std::vector<std::string>{text, ""}, {1, 2});
  };
  auto a = batcher.AsyncInfer({x(1), t("a")});
  auto b = batcher.AsyncInfer({t("b"), x(2)});
  auto c = batcher.AsyncInfer({x(3)});
  InferRequest choosy = {x(4)};
  choosy.set_outputs({"x"});
  auto d = batcher.AsyncInfer(choosy);
  auto e = batcher.AsyncInfer({{"x", std::vector<float>{5, 6}, {1, 2}}});
  auto f = batcher.AsyncInfer({{"x", std::vector<std::int64_t>{7}, {1}}});
  auto g = batcher.AsyncInfer({x(8)}, {.idempotent = false});
  clock->Advance(absl::Milliseconds(2));
  const auto first = std::move(a).Get(), second = std::move(b).Get();
  REQUIRE(first.ok());
  REQUIRE(second.ok());
  CHECK(first->Get<float>("x")->front() == 1);
  CHECK(first->Get<std::string_view>("t")->front() == "a");
  CHECK(second->Get<float>("x")->front() == 2);
  CHECK(second->Get<std::string_view>("t")->front() == "b");
  CHECK(second->Get<std::string_view>("t")->size() == 2);
  CHECK(std::move(c).Get()->Get<float>("x")->front() == 3);
  CHECK(std::move(d).Get()->Get<float>("x")->front() == 4);
  CHECK(std::move(e).Get()->Get<float>("x")->back() == 6);
  CHECK(std::move(f).Get()->Get<std::int64_t>("x")->front() == 7);
  CHECK(std::move(g).Get()->Get<float>("x")->front() == 8);
  std::lock_guard lock(mutex);
  std::sort(seen.begin(), seen.end());
  CHECK(seen == std::vector<std::string>{"t[2,2]x[2]", "x[1,2]", "x[1]", "x[1]", "x[1]", "x[1]>x"});
}

TEST_CASE("what cannot share is sent alone, at once and as it is", "[batcher]") {
  Doubler server([](RawCall& call, const inference::Request& request) {
    inference::Response response = Doubler::Twice(request);
    response.set_text(call.header("x-tenant") + call.header("authorization"));
    call.Write(response.SerializeAsString());
  });
  Batched batched(server.target(), {.max_batch = 2, .max_delay = kNever});
  const auto tenant = batched->Infer(Rows({1}), {.metadata = {{"x-tenant", "a"}}});
  CHECK(Output(tenant) == Floats{2});
  CHECK(tenant->Get<std::string_view>("text")->front() == "a");
  CHECK(Output(batched->AsyncInfer(Rows({1}), {.compression = inferwire::Compression::kGzip}).Get()) == Floats{2});
  CHECK(Output(batched->Infer(Rows({1}), {.attempt_timeout = absl::Seconds(1)})) == Floats{2});
  CHECK(Output(batched->Infer(Rows({1}), {.retry = inferwire::RetryPolicy()})) == Floats{2});
  CHECK(Output(batched->Infer(Rows({1}), {.hedge = inferwire::HedgePolicy()})) == Floats{2});
  CHECK(Output(batched->Infer(Rows({1, 2, 3}))) == Floats{2, 4, 6});  // more than a batch takes
  // The contract's own answers, not the batcher's.
  InferRequest urgent = Rows({1});
  urgent.set_priority(1);
  CHECK(Contains(batched->Infer(urgent).status(), "inference.Inference cannot carry a priority"));
  CHECK(Contains(batched->Infer({{"x", std::vector<double>{1}, {}}}).status(), "does not fit in"));
}

TEST_CASE("what makes no sense is refused before anything is sent", "[batcher]") {
  Doubler server;
  Batched batched(server.target());
  const auto refused = [](const absl::Status& status, const std::string& why) {
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(Contains(status, why));
  };
  const InferRequest bad = {{"x", std::vector<float>(10), {1, 64}}};
  refused(batched->Infer(bad).status(), "holds 64 elements, but 10 were given");
  refused(batched->AsyncInfer(bad).Get().status(), "holds 64 elements, but 10 were given");
  const auto model = batched->model();
  refused(Batcher(model, {.max_batch = 0}).Infer(Rows({1})).status(), "max_batch is 0; expected at least 1");
  refused(Batcher(model, {.max_delay = -absl::Seconds(1)}).Infer(Rows({1})).status(), "max_delay is -1s");
  refused(Batcher(model, {.max_in_flight = -1}).AsyncInfer(Rows({1})).Get().status(), "max_in_flight is -1");
  CHECK(batched->Infer(Rows({1}), {.timeout = absl::ZeroDuration()}).status().code() ==
        absl::StatusCode::kDeadlineExceeded);
  CHECK(server.rows().empty());
}

TEST_CASE("lent memory is free as soon as the call has been made", "[batcher]") {
  Doubler server;
  Batched batched(server.target());
  std::array<float, 2> lent = {1, 2};
  auto future = batched->AsyncInfer({{"x", std::span<const float>(lent), {2, 1}}});
  lent = {};
  batched.clock->Advance(absl::Milliseconds(2));
  CHECK(Output(std::move(future).Get()) == Floats{2, 4});
}

TEST_CASE("ids, buffers for outputs and what a call tells are each caller's own", "[batcher]") {
  Doubler server;
  Batched batched(server.target(), {.max_batch = 4, .max_delay = kNever});
  InferRequest named = Rows({1});
  named.set_id("mine");
  std::array<float, 2> here{}, there{};
  InferRequest directed = Rows({2, 3});
  directed.set_output_buffer("output", std::span<float>(here));
  CallInfo info;
  auto a = batched->AsyncInfer(named);
  auto b = batched->AsyncInfer(directed, {.info = &info});
  CHECK(Output(batched->Infer(Rows({4}))) == Floats{8});
  const auto mine = std::move(a).Get();
  CHECK(mine->id() == "mine");
  REQUIRE(std::move(b).Get().ok());
  CHECK(here == std::array<float, 2>{4, 6});
  CHECK(info.attempts.size() == 1);
  directed = Rows({5, 6});
  directed.set_output_buffer("output", std::span<float>(there));
  auto c = batched->AsyncInfer(Rows({7, 8}));
  REQUIRE(batched->Infer(directed).ok());
  CHECK(there == std::array<float, 2>{10, 12});
  CHECK(std::move(c).Get()->id().empty());
}

// ---- those who go

TEST_CASE("who goes before the batch has left takes its rows along", "[batcher]") {
  Doubler server;
  Batched batched(server.target(), {.max_batch = 3, .max_delay = kNever});
  std::stop_source stop;
  CallInfo info;
  auto stays = batched->AsyncInfer(Rows({1}));
  auto late = batched->AsyncInfer(Rows({2}), {.timeout = absl::Milliseconds(5), .info = &info});
  batched.clock->Advance(absl::Milliseconds(5));
  const absl::Status status = std::move(late).Get().status();
  CHECK(status.code() == absl::StatusCode::kDeadlineExceeded);
  CHECK(Contains(status, "no end within the timeout of 5ms: the batch had not left yet"));
  CHECK(info.reason == CallInfo::Reason::kDeadline);
  CHECK(inferwire::InfoOf(status).latency == absl::Milliseconds(5));

  auto cancelled = batched->AsyncInfer(Rows({3}));
  cancelled.Cancel();
  CHECK(std::move(cancelled).Get().status().code() == absl::StatusCode::kCancelled);
  auto stopped = batched->AsyncInfer(Rows({4}), {.stop = stop.get_token()});
  stop.request_stop();
  CHECK(Contains(std::move(stopped).Get().status(), "stop token"));
  CHECK(batched->Infer(Rows({5}), {.stop = stop.get_token()}).status().code() == absl::StatusCode::kCancelled);
  {
    auto dropped = batched->AsyncInfer(Rows({6}));
  }

  auto next = batched->AsyncInfer(Rows({7}));
  CHECK(Output(batched->Infer(Rows({8}))) == Floats{16});
  CHECK(Output(std::move(next).Get()) == Floats{14});
  CHECK(Output(std::move(stays).Get()) == Floats{2});
  CHECK(server.rows() == Counts{3});
}

TEST_CASE("a batch that all have left is forgotten", "[batcher]") {
  Doubler server;
  Batched batched(server.target());
  {
    auto dropped = batched->AsyncInfer(Rows({1}));
  }
  CHECK(batched.clock->UntilNext() == kNever);
  auto next = batched->AsyncInfer(Rows({2}));
  batched.clock->Advance(absl::Milliseconds(2));
  CHECK(Output(std::move(next).Get()) == Floats{4});
  CHECK(server.rows() == Counts{1});
}

TEST_CASE("who goes after the batch has left loses only its own rows", "[batcher]") {
  Event arrived, go;
  Doubler server([&](RawCall& call, const inference::Request& request) {
    arrived.Set();
    go.Wait();
    Doubler::Answer(call, request);
  });
  Batched batched(server.target(), {.max_batch = 4, .max_delay = kNever});
  std::stop_source stop;
  auto late = batched->AsyncInfer(Rows({1}), {.timeout = absl::Milliseconds(5)});
  auto cancelled = batched->AsyncInfer(Rows({2}));
  auto stopped = batched->AsyncInfer(Rows({3}), {.stop = stop.get_token()});
  auto stays = batched->AsyncInfer(Rows({4}));
  REQUIRE(arrived.Wait());
  batched.clock->Advance(absl::Milliseconds(5));
  CHECK(Contains(std::move(late).Get().status(), "no end within the timeout of 5ms: the batch is under way"));
  cancelled.Cancel();
  CHECK(std::move(cancelled).Get().status().code() == absl::StatusCode::kCancelled);
  stop.request_stop();
  CHECK(std::move(stopped).Get().status().code() == absl::StatusCode::kCancelled);
  go.Set();
  CHECK(Output(std::move(stays).Get()) == Floats{8});
}

TEST_CASE("a batch under way is cancelled once nobody waits for it", "[batcher]") {
  Event arrived, gone;
  Doubler server([&](RawCall& call, const inference::Request&) {
    arrived.Set();
    call.WaitForCancel();
    if (call.context().IsCancelled()) gone.Set();
  });
  Batched batched(server.target(), {.max_batch = 2, .max_delay = kNever});
  auto a = batched->AsyncInfer(Rows({1}));
  {
    auto b = batched->AsyncInfer(Rows({2}));
    REQUIRE(arrived.Wait());
  }
  CHECK_FALSE(a.Ready());
  a.Cancel();
  CHECK(gone.Wait());
  CHECK(std::move(a).Get().status().code() == absl::StatusCode::kCancelled);
}

TEST_CASE("a batch may take as long as the most patient of its callers", "[batcher]") {
  std::atomic<std::int64_t> seconds{0};
  Doubler server([&](RawCall& call, const inference::Request& request) {
    seconds =
        std::chrono::duration_cast<std::chrono::seconds>(call.context().deadline() - std::chrono::system_clock::now())
            .count();
    Doubler::Answer(call, request);
  });
  Batched batched(server.target(), {.max_batch = 3, .max_delay = kNever});
  auto a = batched->AsyncInfer(Rows({1}), {.timeout = absl::Seconds(20)});
  auto b = batched->AsyncInfer(Rows({2}), {.timeout = absl::Seconds(1000)});
  CHECK(Output(batched->Infer(Rows({3}), {.timeout = absl::Seconds(100)})) == Floats{6});
  CHECK(seconds > 900);
  CHECK(seconds < 1100);  // gRPC rounds what it sends
  CHECK(std::move(a).Get().ok());
  CHECK(std::move(b).Get().ok());
}

TEST_CASE("a batch that waits for another's return is left as one that gathers", "[batcher]") {
  Event arrived, go;
  Doubler server([&](RawCall& call, const inference::Request& request) {
    arrived.Set();
    go.Wait();
    Doubler::Answer(call, request);
  });
  Batched batched(server.target(), {.max_batch = 2, .max_delay = absl::ZeroDuration(), .max_in_flight = 1});
  auto first = batched->AsyncInfer(Rows({1}));
  REQUIRE(arrived.Wait());
  auto stays = batched->AsyncInfer(Rows({2}));
  auto late = batched->AsyncInfer(Rows({3}), {.timeout = absl::Milliseconds(1)});
  auto empty = batched->AsyncInfer(Rows({4}));
  batched.clock->Advance(absl::Milliseconds(1));
  CHECK(Contains(std::move(late).Get().status(), "had not left yet"));
  empty.Cancel();
  go.Set();
  CHECK(Output(std::move(first).Get()) == Floats{2});
  CHECK(Output(std::move(stays).Get()) == Floats{4});
  CHECK(std::move(empty).Get().status().code() == absl::StatusCode::kCancelled);
  CHECK(server.rows() == Counts{1, 1});
}

// ---- what fails

TEST_CASE("a batch that fails gives all of its callers the status, and its story", "[batcher]") {
  Doubler server([](RawCall& call, const inference::Request&) {
    call.Finish(grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "not today"));
  });
  Batched batched(server.target(), {.max_batch = 2, .max_delay = kNever});
  CallInfo info;
  auto a = batched->AsyncInfer(Rows({1}), {.info = &info});
  for (const absl::Status& status : {batched->Infer(Rows({2})).status(), std::move(a).Get().status()}) {
    CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
    CHECK(Contains(status, "not today"));
    CHECK(inferwire::InfoOf(status).attempts.size() == 1);
  }
  CHECK(info.reason == CallInfo::Reason::kPermanent);
  CHECK(server.rows() == Counts{2});
}

TEST_CASE("a request that is wrong fails by itself", "[batcher]") {
  Doubler server([](RawCall& call, const inference::Request& request) {
    if (std::any_of(request.input().begin(), request.input().end(), [](float x) { return x < 0; })) {
      return call.Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "negative"));
    }
    Doubler::Answer(call, request);
  });
  Batched batched(server.target(), {.max_batch = 4, .max_delay = kNever});
  CallInfo info;
  auto a = batched->AsyncInfer(Rows({1}));
  auto b = batched->AsyncInfer(Rows({-2}));
  auto c = batched->AsyncInfer(Rows({3, 4}), {.info = &info});
  CHECK(Output(std::move(a).Get()) == Floats{2});
  CHECK(std::move(b).Get().status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Output(std::move(c).Get()) == Floats{6, 8});
  CHECK(info.attempts.size() == 1);
  CHECK(server.rows() == Counts{1, 1, 2, 4});
  // Once, and only where there are neighbours.
  CHECK(batched->Infer(Rows({-1, -1, -1, -1})).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(server.rows() == Counts{1, 1, 2, 4, 4});
}

TEST_CASE("those sent again alone heed their callers, and the bound on what is under way", "[batcher]") {
  Event alone, go;
  std::atomic<int> at_once{0}, most{0};
  Doubler server([&](RawCall& call, const inference::Request& request) {
    if (request.shape(0) > 1) return call.Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "too many"));
    const int now = ++at_once;
    most = std::max(most.load(), now);
    alone.Set();
    go.Wait();
    --at_once;
    Doubler::Answer(call, request);
  });
  Batched batched(server.target(), {.max_batch = 4, .max_delay = kNever, .max_in_flight = 1});
  auto a = batched->AsyncInfer(Rows({1}));
  auto b = batched->AsyncInfer(Rows({2}));
  auto c = batched->AsyncInfer(Rows({3}), {.timeout = absl::Milliseconds(5)});
  auto d = batched->AsyncInfer(Rows({4}));
  REQUIRE(alone.Wait());
  b.Cancel();
  batched.clock->Advance(absl::Milliseconds(5));
  CHECK(std::move(c).Get().status().code() == absl::StatusCode::kDeadlineExceeded);
  go.Set();
  CHECK(Output(std::move(a).Get()) == Floats{2});
  CHECK(Output(std::move(d).Get()) == Floats{8});
  CHECK(std::move(b).Get().status().code() == absl::StatusCode::kCancelled);
  CHECK(server.rows() == Counts{1, 1, 4});
  CHECK(most == 1);
}

TEST_CASE("an answer that has not a row for each fails the batch", "[batcher][trap]") {
  Doubler server([](RawCall& call, const inference::Request& request) {
    inference::Response response = Doubler::Twice(request);
    if (request.input(0) == 0) {  // as if it had no first dimension
      response.clear_shape();
      response.mutable_output()->Truncate(1);
    } else if (request.input(0) == 1) {
      response.set_shape(0, 1);
      response.add_shape(2);
    }
    call.Write(response.SerializeAsString());
  });
  Batched batched(server.target(), {.max_batch = 2, .max_delay = kNever});
  const std::vector<std::pair<float, std::string>> cases = {{0.0f, "[1]"}, {1.0f, "[1,1,2]"}};
  for (const auto& [first, shape] : cases) {
    auto a = batched->AsyncInfer(Rows({first}));
    for (const absl::Status& status : {batched->Infer(Rows({5})).status(), std::move(a).Get().status()}) {
      CHECK(status.code() == absl::StatusCode::kInternal);
      CHECK(Contains(status, "output 'output' of a batch of 2 rows has the shape " + shape));
    }
  }
}

// ---- ends

TEST_CASE("the last batcher to go sends what has gathered", "[batcher]") {
  Doubler server;
  Batched batched(server.target(), {.max_delay = kNever});
  auto copy = std::make_optional(*batched.batcher);
  auto a = copy->AsyncInfer(Rows({1}));
  copy.reset();
  CHECK_FALSE(a.Ready());
  auto b = batched->AsyncInfer(Rows({2}));
  batched.batcher.reset();
  CHECK(Output(std::move(a).Get()) == Floats{2});
  CHECK(Output(std::move(b).Get()) == Floats{4});
  CHECK(server.rows() == Counts{2});
}

TEST_CASE("shutting the client down ends what gathers, what waits and what is under way", "[batcher]") {
  Event arrived;
  Doubler server([&](RawCall& call, const inference::Request&) {
    arrived.Set();
    call.WaitForCancel();
  });
  Batched batched(server.target(), {.max_batch = 2, .max_delay = kNever, .max_in_flight = 1});
  std::vector<Future<InferResult>> futures;
  for (int i = 0; i < 5; ++i) futures.push_back(batched->AsyncInfer(Rows({1})));
  REQUIRE(arrived.Wait());
  batched.client.Shutdown();
  for (auto& future : futures) {
    const absl::Status status = std::move(future).Get().status();
    CHECK(status.code() == absl::StatusCode::kCancelled);
    CHECK(Contains(status, "the client was shut down"));
  }
  const absl::Status status = batched->Infer(Rows({1})).status();
  CHECK(status.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(Contains(status, "the client was shut down"));
}

TEST_CASE("a batch that ends while the client is being shut down is left alone", "[batcher]") {
  // Each ends the other from within its own end, whichever the shutdown comes to first.
  const auto here = std::make_shared<inferwire::InlineExecutor>();
  Doubler server;
  Batched batched(server.target(), {.max_batch = 2, .max_delay = kNever});
  std::stop_source stop_a, stop_b;
  const auto then_stop = [](std::stop_source& other) {
    return [&other](absl::StatusOr<InferResult> result) {
      other.request_stop();
      return result.status();
    };
  };
  auto a =
      batched->AsyncInfer(Rows({1}), {.stop = stop_a.get_token(), .idempotent = true}).Then(here, then_stop(stop_b));
  auto b =
      batched->AsyncInfer(Rows({2}), {.stop = stop_b.get_token(), .idempotent = false}).Then(here, then_stop(stop_a));
  batched.client.Shutdown();
  CHECK(std::move(a).Get().status().code() == absl::StatusCode::kCancelled);
  CHECK(std::move(b).Get().status().code() == absl::StatusCode::kCancelled);
}

TEST_CASE("continuations and coroutines run on the executor, and must not block there", "[batcher]") {
  Doubler server;
  Batched batched(server.target(), {.max_batch = 1});
  const auto served = [](absl::StatusOr<InferResult> result) -> absl::StatusOr<bool> {
    if (!result.ok()) return result.status();
    return inferwire::detail::CurrentThread().serves_grpc;
  };
  const auto serves = batched->AsyncInfer(Rows({1})).Then(served).Get();
  REQUIRE(serves.ok());
  CHECK_FALSE(*serves);
  const auto ask = [](Batcher batcher) -> inferwire::Task<absl::StatusOr<InferResult>> {
    absl::StatusOr<InferResult> first = co_await batcher.AsyncInfer(Row(3));
    if (!first.ok()) co_return first;
    co_return co_await batcher.AsyncInfer(Row(first->Get<float>("output")->front()));
  };
  CHECK(Output(inferwire::SyncWait(ask(*batched.batcher))) == Floats{12});
  Batched never(server.target(), {.max_delay = kNever});
  auto blocked =
      batched->AsyncInfer(Rows({1})).Then([&](absl::StatusOr<InferResult>) { return never->Infer(Rows({1})); });
  CHECK(std::move(blocked).Get().status().code() == absl::StatusCode::kFailedPrecondition);
}

// ---- many at a time

TEST_CASE("thousands of small calls from many threads each get their own answer", "[batcher]") {
  auto server = inferwire::examples::EmbeddedServer::Start({});
  REQUIRE(server.ok());
  const auto model = InferenceClient<OpenInference>(Connect((*server)->target())).GetModel("digits");
  constexpr std::size_t kImages = 40, kThreads = 8;
  const std::size_t calls = kSlow ? 250 : 1250;
  std::vector<std::vector<float>> images(kImages), scores(kImages);
  std::vector<std::int64_t> labels(kImages);
  std::mt19937 random(7);
  for (std::size_t i = 0; i < kImages; ++i) {
    for (int p = 0; p < 64; ++p) images[i].push_back(static_cast<float>(random() % 17) / 16);
    const auto alone = model.Infer({{"image", std::span<const float>(images[i]), {1, 64}}});
    REQUIRE(alone.ok());
    scores[i].assign(alone->Get<float>("scores")->begin(), alone->Get<float>("scores")->end());
    labels[i] = alone->Get<std::int64_t>("label")->front();
  }
  const Batcher batcher(model, {.max_batch = 32, .max_delay = absl::Milliseconds(1), .max_in_flight = 2});
  std::atomic<std::size_t> right{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto check = [&](std::size_t image, const absl::StatusOr<InferResult>& result) {
        if (!result.ok()) return;
        const auto got = result->Get<float>("scores");
        const auto label = result->Get<std::int64_t>("label");
        right += got.ok() && label.ok() && label->size() == 1 && label->front() == labels[image] &&
                 std::equal(got->begin(), got->end(), scores[image].begin(), scores[image].end(),
                            [](float a, float b) { return std::abs(a - b) < 1e-5f; });
      };
      const auto request = [&](std::size_t image) {
        return InferRequest{{"image", std::span<const float>(images[image]), {1, 64}}};
      };
      for (std::size_t done = 0; done < calls;) {
        std::vector<std::pair<std::size_t, Future<InferResult>>> flying;
        for (; flying.size() < 24 && done < calls; ++done) {
          const std::size_t image = (done * 7 + t * 5) % kImages;
          flying.emplace_back(image, batcher.AsyncInfer(request(image), {.timeout = absl::Minutes(1)}));
        }
        for (auto& [image, future] : flying) check(image, std::move(future).Get());
        if (done < calls) {
          const std::size_t image = (done++ + t) % kImages;
          check(image, batcher.Infer(request(image), {.timeout = absl::Minutes(1)}));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(right == kThreads * calls);
  CHECK(model.client().Stats().calls < kImages + kThreads * calls / 2);  // they did share
}

TEST_CASE("batchers, futures and clients end at any time, and every call ends once", "[batcher]") {
  Doubler server([](RawCall& call, const inference::Request& request) {
    if (request.input(0) > 90) return call.Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no"));
    Doubler::Answer(call, request);
  });
  std::atomic<int> ended{0}, expected{0}, wrong{0};
  for (int round = 0; round < (kSlow ? 8 : 30); ++round) {
    const inferwire::Client client = Connect(server.target());
    auto batcher = std::make_optional<Batcher>(
        InferenceClient<Simple>(client).GetModel("m"),
        BatcherOptions{.max_batch = 4, .max_delay = absl::Microseconds(100), .max_in_flight = round % 3});
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
      threads.emplace_back([&, mine = *batcher, t]() mutable {
        std::mt19937 random(t + static_cast<unsigned>(round) * 4);
        std::vector<Future<std::monostate>> kept;
        for (int i = 0; i < 40; ++i) {
          const auto value = static_cast<float>(random() % 100);
          std::stop_source stop;
          auto future = mine.AsyncInfer(Rows({value}), {.timeout = absl::Microseconds(random() % 20'000),
                                                        .stop = random() % 2 ? stop.get_token() : std::stop_token()});
          switch (random() % 5) {
            case 0:
              break;  // dropped
            case 1:
              future.Cancel();
              [[fallthrough]];
            case 2: {
              const auto result = std::move(future).Get();
              if (result.ok() && result->Get<float>("output")->front() != 2 * value) ++wrong;
              break;
            }
            case 3:
              stop.request_stop();
              [[fallthrough]];
            default:
              ++expected;
              kept.push_back(std::move(future).Then([&, value](absl::StatusOr<InferResult> result) {
                ++ended;
                if (result.ok() && result->Get<float>("output")->front() != 2 * value) ++wrong;
              }));
          }
        }
        for (auto& future : kept) std::move(future).Get().status().IgnoreError();
      });
    }
    batcher.reset();
    if (round % 4 == 3) client.Shutdown();
    for (std::thread& thread : threads) thread.join();
  }
  CHECK(ended == expected);
  CHECK(wrong == 0);
}
