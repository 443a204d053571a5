// SPDX-License-Identifier: Apache-2.0
#include "inferwire/generation.h"

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inferwire/contract/sglang.h"
#include "inferwire/contract/vllm.h"
#include "inferwire/contract/vllm_engine.h"
#include "inferwire/start.h"
#include "inferwire/testing/fake_server.h"
#include "support/catch.h"
#include "support/eventually.h"
#include "support/generation.h"

using inferwire::FinishReason;
using inferwire::Generation;
using inferwire::GenerationDelta;
using inferwire::GenerationRequest;
using inferwire::Sglang;
using inferwire::Vllm;
using inferwire::testing::FakeServer;
using namespace inferwire_test;  // NOLINT

namespace {

using GenerateStream = Vllm::GenerateStream;
using Answer = inferwire::vllm::GenerateResponse;

Answer Token(const std::string& text, std::uint32_t id = 1) {
  Answer answer;
  answer.mutable_outputs()->set_text(text);
  answer.mutable_outputs()->set_num_tokens(1);
  answer.mutable_outputs()->add_token_ids(id);
  return answer;
}
Answer Prompt(std::uint32_t tokens) {
  Answer answer;
  answer.mutable_prompt_info()->set_num_prompt_tokens(tokens);
  return answer;
}
Answer Last(inferwire::vllm::FinishInfo::FinishReason reason = inferwire::vllm::FinishInfo::STOP) {
  Answer answer;
  answer.mutable_outputs()->mutable_finish_info()->set_finish_reason(reason);
  return answer;
}
// Tokens "0", "1", … behind as many words as the prompt has, so that each server goes on where another one broke.
grpc::Status Count(inferwire::testing::Call& call, int total, int most) {
  const auto bytes = call.Read();
  if (!bytes.has_value()) return grpc::Status();
  inferwire::vllm::GenerateRequest request;
  if (!request.ParseFromString(*bytes)) return {grpc::StatusCode::INTERNAL, "no request"};
  const int from = static_cast<int>(request.text().size() - std::string("count:").size());
  if (!call.Write(Prompt(3).SerializeAsString())) return grpc::Status();
  for (int i = from; i < (std::min)(total, from + most); ++i) {
    if (!call.Write(Token(std::string(1, static_cast<char>('a' + i % 26))).SerializeAsString())) return grpc::Status();
  }
  if (from + most < total) return {grpc::StatusCode::UNAVAILABLE, "killed between tokens"};
  call.Write(Last().SerializeAsString());
  return grpc::Status();
}
std::string Letters(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out.push_back(static_cast<char>('a' + i % 26));
  return out;
}

}  // namespace

TEST_CASE("text comes as it is made, and as a whole", "[generation]") {
  FakeServer fake;
  fake.On<GenerateStream>().Send(Prompt(3)).Send(Token("Hel")).Send(Token("lo")).Send(Last()).Ok();
  Answer whole = Token("Hello");
  whole.mutable_prompt_info()->set_num_prompt_tokens(3);
  whole.mutable_outputs()->set_num_tokens(2);
  whole.mutable_outputs()->mutable_finish_info()->set_finish_reason(inferwire::vllm::FinishInfo::LENGTH);
  fake.On<Vllm::Generate>().Reply(whole);
  const auto llm = ConnectTo<Vllm>(fake.target());
  auto stream = llm.StreamGenerate({.prompt = "hi"});
  std::vector<std::string> texts;
  for (GenerationDelta& delta : stream) texts.push_back(delta.text);
  CHECK(texts == std::vector<std::string>{"Hel", "lo", ""});
  CHECK(stream.status().ok());
  CHECK(stream.usage().prompt_tokens == 3);
  CHECK(stream.usage().completion_tokens == 2);
  CHECK(stream.stats().tokens == 2);
  CHECK(stream.stats().first_token.has_value());

  const absl::StatusOr<Generation> once = llm.Generate({.prompt = "hi"});
  REQUIRE(once.ok());
  CHECK(once->text == "Hello");
  CHECK(once->finish_reason == FinishReason::kLength);
  CHECK(once->finish_word == "LENGTH");
  CHECK(once->choices.size() == 1);
  CHECK(once->usage.completion_tokens == 2);
  const absl::StatusOr<Generation> later = llm.AsyncGenerate({.prompt = "hi"}).Get();
  REQUIRE(later.ok());
  CHECK(later->text == "Hello");
}

TEST_CASE("a coroutine reads deltas, and a stream that is moved goes on", "[generation]") {
  FakeServer fake;
  fake.On<GenerateStream>().Send(Token("a")).Send(Token("b")).Send(Last()).Ok();
  const auto llm = ConnectTo<Vllm>(fake.target());
  const auto read = [](inferwire::GenerationStream stream) -> inferwire::Task<std::string> {
    std::string out;
    while (std::optional<GenerationDelta> delta = co_await stream.Next()) out += delta->text;
    co_return out + (stream.status().ok() ? "" : " failed");
  };
  auto stream = llm.StreamGenerate({.prompt = "hi"});
  auto moved = std::move(stream);
  CHECK(stream.status().code() == absl::StatusCode::kFailedPrecondition);  // NOLINT: moved from
  CHECK(!stream.Read().has_value());
  CHECK(inferwire::SyncWait(read(std::move(moved))) == "ab");
}

TEST_CASE("what a contract cannot carry is refused before anything is sent", "[generation]") {
  FakeServer fake;
  const auto llm = ConnectTo<Vllm>(fake.target());
  const auto sglang = ConnectTo<Sglang>(fake.target());
  const auto refused = [&](const auto& client, const GenerationRequest& request, const std::string& part) {
    for (const absl::Status& status :
         {client.Generate(request).status(), client.AsyncGenerate(request).Get().status()}) {
      INFO(status);
      CHECK(status.code() == absl::StatusCode::kInvalidArgument);
      CHECK(std::string(status.message()).find(part) != std::string::npos);
    }
    auto stream = client.StreamGenerate(request);
    CHECK(!stream.Read().has_value());
    CHECK(stream.status().code() == absl::StatusCode::kInvalidArgument);
  };
  refused(llm, {.messages = {{"user", "hi"}}}, "the contract vllm cannot carry messages");
  refused(sglang, {.prompt = "x", .model = "m"}, "the contract sglang cannot carry model");
  refused(sglang, {.prompt = "x", .n = 2}, "cannot carry n");
  refused(sglang, {.prompt = "x", .choice = {"a"}}, "cannot carry choice");
  refused(llm, {.prompt = "x", .max_tokens = 0}, "max_tokens is 0; expected at least 1");
  refused(llm, {.prompt = "x", .temperature = -1.0f}, "temperature is -1");
  refused(llm, {.prompt = "x", .top_p = 2.0f}, "top_p is 2");
  refused(llm, {.prompt = "x", .n = 0}, "n is 0");
  refused(llm, {.prompt = "x", .n = 1 << 30}, "n is 1073741824; expected 1 to 1024");
  refused(sglang, {.messages = {{"user", "\xFF"}}}, "a message's content is not UTF-8");
  refused(sglang, {.messages = {{"user", "x"}}, .seed = (std::int64_t{1} << 53) + 1}, "JSON carries");
  refused(llm, {.prompt = "x", .logprobs = -1}, "logprobs is -1");
  refused(llm, {.prompt = "x", .stop = {""}}, "stop has an empty string");
  refused(llm, {.prompt = "x", .regex = "a", .grammar = "b"}, "more than one of json_schema");
  refused(llm, {.prompt = std::vector<std::int32_t>{}}, "prompt has no token ids");
  refused(llm, {.prompt = std::vector<std::int32_t>{4, -1}}, "token id -1");
  refused(llm, {.prompt = "x", .messages = {{"user", "hi"}}}, "a prompt and messages");
  refused(llm, {.prompt = "\xFF"}, "UTF-8");
  CHECK(fake.calls<GenerateStream>() == 0);
}

TEST_CASE("a generation that fails before its first token is tried again", "[generation]") {
  FakeServer fake;
  fake.On<GenerateStream>().Fail(absl::UnavailableError("starting")).Times(2).Then().Send(Token("a")).Send(Last()).Ok();
  const auto llm = ConnectTo<Vllm>(fake.target());
  auto stream = llm.StreamGenerate({.prompt = "hi"});
  std::string text;
  for (GenerationDelta& delta : stream) text += delta.text;
  CHECK(text == "a");
  CHECK(stream.status().ok());
  CHECK(llm.Stats().retries == 2);
}

TEST_CASE("without resume, a generation that breaks ends with the server's status", "[generation]") {
  FakeServer fake;
  fake.On<GenerateStream>().Send(Token("a")).Fail(absl::UnavailableError("gone"));
  const auto llm = ConnectTo<Vllm>(fake.target());
  auto stream = llm.StreamGenerate({.prompt = "hi"});
  std::string text;
  for (GenerationDelta& delta : stream) text += delta.text;
  CHECK(text == "a");
  CHECK(stream.status().code() == absl::StatusCode::kUnavailable);
}

TEST_CASE("a generation that breaks goes on elsewhere, each token once", "[generation]") {
  FakeServer one, two;
  std::atomic<int> asked{0};
  const auto act = [&](inferwire::testing::Call& call) {
    ++asked;
    return Count(call, 40, 7);
  };
  one.On<GenerateStream>().Do(act);
  two.On<GenerateStream>().Do(act);
  auto client = inferwire::GenerationClient<Vllm>::Create({.targets = {one.target(), two.target()},
                                                           .credentials = inferwire::Insecure(),
                                                           .retry = {.initial_backoff = absl::Milliseconds(1)},
                                                           .retry_budget = {.ratio = 1, .min_per_second = 100}});
  REQUIRE(client.ok());
  auto stream = client->StreamGenerate({.prompt = "count:", .max_tokens = 100}, {.resume = true});
  std::string text;
  for (GenerationDelta& delta : stream) text += delta.text;
  INFO(stream.status());
  CHECK(stream.status().ok());
  CHECK(text == Letters(40));
  CHECK(asked == 6);
  CHECK(stream.usage().prompt_tokens == 3);
  CHECK(stream.usage().completion_tokens == 40);
  // What is still missing is asked of the next.
  for (FakeServer* const server : {&one, &two}) {
    for (const auto& request : server->requests<GenerateStream>()) {
      CHECK(request.stopping().max_new_tokens() + request.text().size() == 100 + std::string("count:").size());
    }
  }
}

TEST_CASE("ids that were received are part of the prompt of ids that goes on", "[generation]") {
  FakeServer fake;
  fake.On<GenerateStream>()
      .Send(Token("a", 7))
      .Send(Token("b", 8))
      .Fail(absl::UnavailableError("gone"))
      .Times(1)
      .Then()
      .Send(Token("c", 9))
      .Send(Last())
      .Ok();
  const auto llm = ConnectTo<Vllm>(fake.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  auto stream = llm.StreamGenerate({.prompt = std::vector<std::int32_t>{1, 2}, .request_id = "r"}, {.resume = true});
  std::vector<std::int32_t> ids;
  for (GenerationDelta& delta : stream) ids.insert(ids.end(), delta.token_ids.begin(), delta.token_ids.end());
  CHECK(stream.status().ok());
  CHECK(ids == std::vector<std::int32_t>{7, 8, 9});
  const auto requests = fake.requests<GenerateStream>();
  REQUIRE(requests.size() == 2);
  const auto& second = requests[1];
  CHECK(std::vector<std::uint32_t>(second.token_ids().ids().begin(), second.token_ids().ids().end()) ==
        std::vector<std::uint32_t>{1, 2, 7, 8});
  CHECK(second.request_id() == "r-1");
}

TEST_CASE("a break behind the last token is no error", "[generation]") {
  FakeServer fake;
  fake.On<GenerateStream>().Send(Token("a")).Send(Token("b")).Fail(absl::UnavailableError("gone"));
  const auto llm = ConnectTo<Vllm>(fake.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  auto stream = llm.StreamGenerate({.prompt = "x", .max_tokens = 2}, {.resume = true});
  std::string text;
  std::optional<FinishReason> reason;
  for (GenerationDelta& delta : stream) {
    text += delta.text;
    reason = delta.finish_reason;
  }
  INFO(stream.status());
  CHECK(stream.status().ok());
  CHECK(text == "ab");
  CHECK(reason == FinishReason::kLength);
  CHECK(fake.calls<GenerateStream>() == 1);
}

TEST_CASE("what cannot be resumed says so", "[generation]") {
  FakeServer fake;
  const auto llm = ConnectTo<Vllm>(fake.target());
  auto many = llm.StreamGenerate({.prompt = "x", .n = 2}, {.resume = true});
  CHECK(!many.Read().has_value());
  CHECK(std::string(many.status().message()).find("one sequence alone can be resumed") != std::string::npos);
  auto chat = ConnectTo<Sglang>(fake.target()).StreamGenerate({.messages = {{"user", "x"}}}, {.resume = true});
  CHECK(!chat.Read().has_value());
  CHECK(chat.status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a stop string is cut off also where the server tells its ids", "[generation]") {
  FakeServer fake;
  inferwire::vllm_engine::GenerateResponse first, second, last;
  for (const char c : std::string("hi E")) first.mutable_chunk()->add_token_ids(static_cast<std::uint32_t>(c));
  for (const char c : std::string("ND")) second.mutable_chunk()->add_token_ids(static_cast<std::uint32_t>(c));
  last.mutable_complete()->set_finish_reason("stop");
  fake.On<inferwire::VllmEngine::GenerateStream>().Send(first).Send(second).Send(last).Ok();
  inferwire::Tokenizer letters{.encode = [](std::string_view text) -> absl::StatusOr<std::vector<std::int32_t>> {
                                 return std::vector<std::int32_t>(text.begin(), text.end());
                               },
                               .decode = [](std::span<const std::int32_t> ids) -> absl::StatusOr<std::string> {
                                 std::string out;
                                 for (const std::int32_t id : ids) out.push_back(static_cast<char>(id));
                                 return out;
                               }};
  const auto llm = ConnectTo<inferwire::VllmEngine>(fake.target());
  auto stream = llm.StreamGenerate({.prompt = "x", .stop = {"END"}}, {.tokenizer = letters});
  std::string text;
  for (GenerationDelta& delta : stream) text += delta.text;
  INFO(stream.status());
  CHECK(stream.status().ok());
  CHECK(text == "hi ");
  // Text cannot be gone on with where none is told.
  auto blind = llm.StreamGenerate({.prompt = "x"}, {.resume = true});
  CHECK(!blind.Read().has_value());
  CHECK(blind.status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("dropping, leaving and cancelling end the call at the server", "[generation]") {
  FakeServer fake;
  fake.On<GenerateStream>().Send(Token("a")).Send(Token("b")).Never();
  const auto llm = ConnectTo<Vllm>(fake.target());
  for (GenerationDelta& delta : llm.StreamGenerate({.prompt = "x"})) {
    CHECK(delta.text == "a");
    break;
  }
  auto stream = llm.StreamGenerate({.prompt = "x"});
  CHECK(stream.Read()->text == "a");
  CHECK(stream.status().ok());
  stream.Cancel();
  while (stream.Read()) {
  }
  CHECK(stream.status().code() == absl::StatusCode::kCancelled);
  auto finished = llm.StreamGenerate({.prompt = "x"});
  CHECK(finished.Read().has_value());
  CHECK(finished.Finish().code() == absl::StatusCode::kCancelled);
  {
    auto future = llm.AsyncGenerate({.prompt = "x"}, {.resume = true});
  }
  CHECK(Eventually([&] { return llm.Stats().in_flight == 0; }));
}

TEST_CASE("sglang: what a real server answered is understood", "[sglang]") {
  const inferwire::detail::GenerationTable& all = inferwire::detail::GenerationTableOf<Sglang>::Get();
  int generations = 0;
  for (const CapturedCall& call : Captured("sglang_runtime_v1")) {
    const bool text = call.path == "/sglang.runtime.v1.SglangService/TextGenerate";
    if ((!text && call.path != "/sglang.runtime.v1.SglangService/Generate") || call.status != "OK") continue;
    INFO(call.name);
    const Assembled got = Assemble(all.forms[text ? 0 : 1].decode, call.messages);
    INFO(got.status);
    REQUIRE(got.status.ok());
    if (text) CHECK(got.text() == " t0 t1 t2 t3");
    if (!text) CHECK(got.token_ids() == std::vector<std::int32_t>{0, 1, 2});
    CHECK(got.finish_reason() == FinishReason::kLength);
    CHECK(got.deltas.back().finish_word == "length");
    CHECK(got.usage.prompt_tokens == 3);
    CHECK(got.usage.completion_tokens == static_cast<std::int64_t>(text ? 4 : 3));
    ++generations;
  }
  CHECK(generations >= 3);
}

TEST_CASE("sglang: each kind of prompt goes by its own method", "[sglang]") {
  FakeServer fake;
  inferwire::sglang::TextGenerateResponse text;
  text.set_text("t");
  (*text.mutable_meta_info())["finish_reason"] = R"({"type": "stop", "matched": 0})";
  text.set_finished(true);
  fake.On<inferwire::detail::SglangText::GenerateStream>().Reply(text);
  inferwire::sglang::GenerateResponse ids;
  ids.add_output_ids(5);
  ids.set_finished(true);
  fake.On<inferwire::detail::SglangTokens::GenerateStream>().Reply(ids);
  inferwire::sglang::OpenAIStreamChunk first, second, last;
  first.set_json_chunk(R"({"choices":[{"index":0,"delta":{"role":"assistant","content":"he"},"finish_reason":null}]})");
  second.set_json_chunk(
      R"({"choices":[{"index":0,"delta":{"content":"y"},"finish_reason":"stop","matched_stop":"!"}]})");
  last.set_json_chunk(
      R"({"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}})");
  last.set_finished(true);
  fake.On<inferwire::detail::SglangChat::GenerateStream>().Send(first).Send(second).Send(last).Ok();
  const auto llm = ConnectTo<Sglang>(fake.target());
  const auto of_text = llm.Generate({.prompt = "x"});
  REQUIRE(of_text.ok());
  CHECK(of_text->text == "t");
  CHECK(of_text->stopped_by == inferwire::StoppedBy(std::int32_t{0}));
  const auto of_ids = llm.Generate({.prompt = std::vector<std::int32_t>{1}});
  REQUIRE(of_ids.ok());
  CHECK(of_ids->token_ids == std::vector<std::int32_t>{5});
  const auto chat = llm.Generate({.messages = {{"system", "be brief"}, {"user", "hi \"you\""}},
                                  .model = "m",
                                  .max_tokens = 3,
                                  .json_schema = R"({"type":"object"})"});
  INFO(chat.status());
  REQUIRE(chat.ok());
  CHECK(chat->text == "hey");
  CHECK(chat->finish_word == "stop");
  CHECK(chat->stopped_by == inferwire::StoppedBy("!"));
  CHECK(chat->usage.prompt_tokens == 4);
  CHECK(chat->usage.completion_tokens == 2);
  CHECK(chat->usage.cached_tokens == 1);
  const auto sent = fake.requests<inferwire::detail::SglangChat::GenerateStream>();
  REQUIRE(sent.size() == 1);
  const auto body = inferwire::detail::ParseJsonObject(std::string(sent[0].json_body()));
  REQUIRE(body.has_value());
  CHECK(inferwire::detail::FindText(*body, "model") == "m");
  CHECK(inferwire::detail::FindWholeNumber(*body, "max_tokens") == 3);
  CHECK(inferwire::detail::Find(*body, "messages")->list_value().values_size() == 2);
  CHECK(inferwire::detail::FindObject(*body, "response_format") != nullptr);
}

TEST_CASE("sglang: an error that is told in a message of an OK call is the stream's, and is tried again", "[sglang]") {
  FakeServer fake;
  inferwire::sglang::OpenAIStreamChunk busy, wrong, done;
  busy.set_json_chunk(R"({"error":{"message":"loading","code":503}})");
  wrong.set_json_chunk(R"({"object":"error","message":"too long a prompt","code":400})");
  done.set_json_chunk(R"({"choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":"stop"}]})");
  fake.On<inferwire::detail::SglangChat::GenerateStream>()
      .Reply(busy)
      .Times(2)
      .Then()
      .Reply(done)
      .Times(1)
      .Then()
      .Reply(wrong);
  const auto llm = ConnectTo<Sglang>(fake.target(), {.retry = {.initial_backoff = absl::Milliseconds(1)}});
  const GenerationRequest ask{.messages = {{"user", "x"}}};
  const auto good = llm.Generate(ask);
  INFO(good.status());
  REQUIRE(good.ok());
  CHECK(good->text == "ok");
  CHECK(llm.Stats().retries == 2);
  const absl::Status bad = llm.Generate(ask).status();
  CHECK(bad.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(bad.message()).find("too long a prompt") != std::string::npos);
  CHECK(inferwire::InfoOf(bad).attempts.size() == 1);
}

TEST_CASE("sglang: a request that is aborted in a message before it began is tried again", "[sglang]") {
  FakeServer fake;
  inferwire::sglang::TextGenerateResponse refused, made;
  (*refused.mutable_meta_info())["finish_reason"] =
      R"({"type": "abort", "status_code": 503, "message": "the queue is full"})";
  refused.set_finished(true);
  made.set_text("ok");
  (*made.mutable_meta_info())["finish_reason"] = R"({"type": "stop"})";
  made.set_finished(true);
  fake.On<inferwire::detail::SglangText::GenerateStream>()
      .Reply(refused)
      .Times(1)
      .Then()
      .Reply(made)
      .Times(1)
      .Then()
      .Reply(refused);
  const auto llm =
      ConnectTo<Sglang>(fake.target(), {.retry = {.max_attempts = 2, .initial_backoff = absl::Milliseconds(1)}});
  const auto good = llm.Generate({.prompt = "x"});
  INFO(good.status());
  REQUIRE(good.ok());
  CHECK(good->text == "ok");
  const absl::Status bad = llm.Generate({.prompt = "x"}).status();
  CHECK(bad.code() == absl::StatusCode::kUnavailable);
  CHECK(std::string(bad.message()).find("the queue is full") != std::string::npos);
  CHECK(inferwire::InfoOf(bad).attempts.size() == 2);
}

TEST_CASE("a future's call tells of itself, and not to whoever let the future go", "[generation]") {
  FakeServer fake;
  inferwire::sglang::TextGenerateResponse made;
  made.set_text("ok");
  made.set_finished(true);
  fake.On<inferwire::detail::SglangText::GenerateStream>().Reply(made).Times(1).Then().Never();
  const auto llm = ConnectTo<Sglang>(fake.target());
  inferwire::CallInfo info;
  CHECK(llm.AsyncGenerate({.prompt = "x"}, {}, {.info = &info}).Get().ok());
  CHECK(info.attempts.size() == 1);
  {
    auto gone = std::make_unique<inferwire::CallInfo>();
    auto future = llm.AsyncGenerate({.prompt = "x"}, {}, {.info = gone.get()});
  }
  CHECK(Eventually([&] { return llm.Stats().in_flight == 0; }));
}

TEST_CASE("a stream that is moved while it is awaited goes on, and one that is dropped ends the wait", "[generation]") {
  FakeServer fake;
  fake.On<GenerateStream>().Send(Token("a")).Delay(absl::Milliseconds(30)).Send(Token("b")).Never();
  const auto llm = ConnectTo<Vllm>(fake.target());
  auto stream = std::make_unique<inferwire::GenerationStream>(llm.StreamGenerate({.prompt = "x"}));
  CHECK(stream->Read()->text == "a");
  auto next = inferwire::Start(stream->Next());
  auto moved = std::make_unique<inferwire::GenerationStream>(std::move(*stream));
  stream.reset();
  auto second = std::move(next).Get();
  REQUIRE(second.ok());
  CHECK(second->value().text == "b");
  auto last = inferwire::Start(moved->Next());
  moved.reset();
  const auto none = std::move(last).Get();
  REQUIRE(none.ok());
  CHECK(!none->has_value());
}
