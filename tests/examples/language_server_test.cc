// SPDX-License-Identifier: Apache-2.0
//
// The embedded server's language and embedding services, by the clients that are meant for them.
#include <absl/status/status.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "inferwire/contract/sglang.h"
#include "inferwire/contract/tei.h"
#include "inferwire/contract/vllm.h"
#include "server/continuation.h"
#include "server/models.h"
#include "server/ngrams.h"
#include "server/server.h"
#include "server/words.h"
#include "support/catch.h"

namespace inferwire::examples {
namespace {

constexpr char kPrompt[] = "Tom said that";

std::unique_ptr<EmbeddedServer> StartServer(std::chrono::milliseconds delay = std::chrono::milliseconds(0)) {
  absl::StatusOr<std::unique_ptr<EmbeddedServer>> server = EmbeddedServer::Start({.token_delay = delay});
  INFO(server.status().ToString());
  REQUIRE(server.ok());
  return *std::move(server);
}

Client Connect(std::vector<std::string> targets) {
  absl::StatusOr<Client> client = Client::Create({.targets = std::move(targets),
                                                  .credentials = Insecure(),
                                                  .retry = {.initial_backoff = absl::Milliseconds(1)},
                                                  .target_order = TargetOrder::kPriority});
  INFO(client.status().ToString());
  REQUIRE(client.ok());
  return *std::move(client);
}

GenerationRequest Story(int tokens, std::int64_t seed = 7) {
  return {.prompt = kPrompt, .max_tokens = tokens, .seed = seed, .ignore_eos = true};
}

std::string ReadAll(GenerationStream& stream) {
  std::string text;
  for (const GenerationDelta& delta : stream) text += delta.text;
  INFO(stream.status().ToString());
  CHECK(stream.status().ok());
  return text;
}

const Storyteller& Teller() {
  static const std::unique_ptr<ModelSet> models = [] {
    absl::StatusOr<std::unique_ptr<ModelSet>> loaded = ModelSet::Load("");
    REQUIRE(loaded.ok());
    return *std::move(loaded);
  }();
  return models->storyteller();
}

// The parts of a whole continuation, and how it ended.
std::vector<Continuation::Part> Parts(Continuation::Terms terms) {
  absl::StatusOr<Continuation> story = Continuation::Create(Teller(), std::move(terms));
  REQUIRE(story.ok());
  std::vector<Continuation::Part> parts;
  do parts.push_back(story->Next());
  while (parts.back().end == Continuation::End::kNone);
  return parts;
}
std::string Join(const std::vector<Continuation::Part>& parts) {
  std::string text;
  for (const Continuation::Part& part : parts) text += part.text;
  return text;
}

}  // namespace

TEST_CASE("a text that was begun elsewhere is continued as it would have been there", "[examples][language]") {
  for (const std::string prompt : {kPrompt, "", "Huck --", "\"Well, ", "a\xff -"}) {
    const Continuation::Terms terms{.prompt = prompt, .seed = 3, .max_tokens = 300, .stop = {" zebra"}};
    const std::vector<Continuation::Part> parts = Parts(terms);
    const std::string whole = Join(parts);
    std::string begun;
    std::int64_t tokens = 0;
    for (const Continuation::Part& part : parts) {
      begun += part.text;
      tokens += static_cast<std::int64_t>(part.token_ids.size());
      if (tokens % 17 != 0 || part.end != Continuation::End::kNone) continue;
      Continuation::Terms rest = terms;
      rest.prompt += begun;
      rest.max_tokens -= tokens;
      CHECK(begun + Join(Parts(rest)) == whole);
    }
  }
}

TEST_CASE("a story ends by itself, at a stop string, at a token or when it is long enough", "[examples][language]") {
  using End = Continuation::End;
  const auto last = [](Continuation::Terms terms) { return Parts(std::move(terms)).back(); };
  CHECK(last({.prompt = kPrompt, .max_tokens = 5}).end == End::kLength);
  CHECK(last({.prompt = kPrompt, .max_tokens = 100'000}).end == End::kStory);
  CHECK(last({.prompt = kPrompt, .max_tokens = 2000, .ignore_end = true}).end == End::kLength);

  const std::string whole = Join(Parts({.prompt = kPrompt, .max_tokens = 60, .ignore_end = true}));
  const std::string stop = whole.substr(40, 25);  // begins and ends inside of words
  const Continuation::Terms terms{
      .prompt = kPrompt, .max_tokens = 60, .stop = {stop + "x", stop, "nowhere"}, .ignore_end = true};
  CHECK(Join(Parts(terms)) == whole.substr(0, whole.find(stop)));
  CHECK(last(terms).end == End::kStopString);
  CHECK(last(terms).stop_string == stop);
  Continuation::Terms included = terms;
  included.include_stop = true;
  CHECK(Join(Parts(included)) == whole.substr(0, whole.find(stop) + stop.size()));

  const std::uint32_t third = Parts({.prompt = kPrompt, .max_tokens = 3}).back().token_ids.at(0);
  const Continuation::Part at = last({.prompt = kPrompt, .max_tokens = 60, .stop_token_ids = {third}});
  CHECK(at.end == End::kStopToken);
  CHECK(at.stop_token == third);
  CHECK(!Continuation::Create(Teller(), {.max_tokens = -1}).ok());
  CHECK(!Continuation::Create(Teller(), {.stop = {""}}).ok());
}

TEST_CASE("n-grams are those of words", "[examples][language]") {
  const std::map<std::string, std::vector<std::string>> table = {
      {"", {}},
      {"?!", {}},
      {"A", {" a "}},
      {"Ox", {" ox", "ox ", " ox "}},
      {"a ox", {" a ", " ox", "ox ", " ox "}},
      {"cat.", {" ca", "cat", "at ", " cat", "cat ", " cat "}},
      {"\xc3\xa4", {" \xc3\xa4", "\xc3\xa4 ", " \xc3\xa4 "}},
  };
  for (const auto& [text, grams] : table) {
    INFO(text);
    CHECK(NGrams(text) == grams);
  }
}

TEST_CASE("a text's vector has the length 1, and is near those of similar texts", "[examples][language]") {
  struct Row {
    const char* text;
    const char* near;
    const char* far;
  };
  for (const Row& row : {Row{"the cat sat on the mat", "a cat is sitting on a mat", "shares fell in Tokyo"},
                         Row{"how do I reset my password", "password resetting", "opening hours of the museum"},
                         Row{"Mississippi steamboats", "a steamboat on the Mississippi", "whitewash for a fence"}}) {
    const std::vector<float> vector = EmbedText(row.text);
    INFO(row.text);
    CHECK(vector.size() == kEmbeddingDimensions);
    CHECK(Cosine(vector, vector) == Approx(1));
    CHECK(Cosine(vector, EmbedText(row.near)) > Cosine(vector, EmbedText(row.far)) + 0.2f);
  }
  CHECK(EmbedText("Ox", /*normalize=*/false, 1).at(0) != 0);  // of three n-grams
  CHECK(EmbedText("?!") == std::vector<float>(kEmbeddingDimensions));
  CHECK(Cosine(EmbedText("?!"), EmbedText("cat")) == 0);
}

TEST_CASE("one seed's story is the same by each contract, word for word", "[examples][language]") {
  const auto server = StartServer();
  const Client client = Connect({server->target()});
  const GenerationClient<Vllm> vllm(client);
  const GenerationClient<Sglang> sglang(client);
  auto stream = vllm.StreamGenerate(Story(40));
  const std::string told = ReadAll(stream);
  CHECK(stream.usage().prompt_tokens == 3);
  CHECK(stream.usage().completion_tokens == 40);
  CHECK(stream.stats().tokens == 40);

  const absl::StatusOr<Generation> whole = vllm.Generate(Story(40));
  REQUIRE(whole.ok());
  CHECK(whole->text == told);
  CHECK(whole->finish_reason == FinishReason::kLength);
  CHECK(whole->usage.completion_tokens == 40);
  REQUIRE(whole->token_ids.size() == 40);
  for (std::size_t i = 0; i < Words(told).size(); ++i) {
    CHECK(whole->token_ids[i] == static_cast<std::int32_t>(TokenId(Words(told)[i])));
  }

  auto text = sglang.StreamGenerate(Story(40));
  CHECK(ReadAll(text) == told);
  CHECK(text.usage().prompt_tokens == 3);
  CHECK(text.usage().completion_tokens == 40);
  GenerationRequest chat = Story(40);
  chat.prompt = "";
  chat.messages = {{"system", "You tell stories."}, {"user", "no"}, {"assistant", "yes"}, {"user", kPrompt}};
  auto said = sglang.StreamGenerate(chat);
  CHECK(ReadAll(said) == told);
  CHECK(said.usage().prompt_tokens == 3);
  CHECK(said.usage().completion_tokens == 40);
  const absl::StatusOr<Generation> answer = sglang.Generate(chat);
  INFO(answer.status().ToString());
  REQUIRE(answer.ok());
  CHECK(answer->text == told);
  CHECK(answer->finish_reason == FinishReason::kLength);

  auto other = vllm.StreamGenerate(Story(40, 8));
  CHECK(ReadAll(other) != told);
}

TEST_CASE("stop strings end a story by each contract", "[examples][language]") {
  const auto server = StartServer();
  const Client client = Connect({server->target()});
  const GenerationClient<Vllm> vllm(client);
  const GenerationClient<Sglang> sglang(client);
  const absl::StatusOr<Generation> whole = vllm.Generate(Story(40));
  REQUIRE(whole.ok());
  GenerationRequest request = Story(40);
  request.stop = {whole->text.substr(30, 10)};
  for (const AnyGenerationClient& llm : std::vector<AnyGenerationClient>{vllm, sglang}) {
    INFO(llm.contract_name());
    const absl::StatusOr<Generation> stopped = llm.Generate(request);
    REQUIRE(stopped.ok());
    CHECK(stopped->text == whole->text.substr(0, whole->text.find(request.stop[0])));
    CHECK(stopped->finish_reason == FinishReason::kStop);
    CHECK(stopped->stopped_by == StoppedBy(request.stop[0]));
  }
  request.prompt = "";
  request.messages = {{"user", kPrompt}};
  const absl::StatusOr<Generation> said = sglang.Generate(request);
  REQUIRE(said.ok());
  CHECK(said->stopped_by == StoppedBy(request.stop[0]));

  const absl::StatusOr<Generation> ended = vllm.Generate({.prompt = kPrompt, .max_tokens = 100'000});
  REQUIRE(ended.ok());
  CHECK(ended->finish_reason == FinishReason::kStop);
  CHECK(ended->stopped_by == StoppedBy(static_cast<std::int32_t>(Continuation::kEndToken)));
}

TEST_CASE("what the language services cannot do is refused", "[examples][language]") {
  const auto server = StartServer();
  const Client client = Connect({server->target()});
  const GenerationClient<Vllm> vllm(client);
  const GenerationClient<Sglang> sglang(client);
  const auto code = [](const AnyGenerationClient& llm, const GenerationRequest& request) {
    return llm.Generate(request).status().code();
  };
  using absl::StatusCode;
  CHECK(code(vllm, {.prompt = std::vector<std::int32_t>{1, 2}}) == StatusCode::kInvalidArgument);
  CHECK(code(vllm, {.prompt = kPrompt, .n = 2}) == StatusCode::kInvalidArgument);
  CHECK(code(vllm, {.prompt = kPrompt, .max_tokens = 100'001}) == StatusCode::kInvalidArgument);
  CHECK(code(vllm, {.prompt = kPrompt, .regex = "[a-z]+"}) == StatusCode::kInvalidArgument);
  CHECK(code(vllm, {.prompt = kPrompt, .model = "opt"}) == StatusCode::kNotFound);
  CHECK(code(sglang, {.prompt = std::vector<std::int32_t>{1, 2}}) == StatusCode::kUnimplemented);
  CHECK(code(sglang, {.prompt = kPrompt, .max_tokens = 100'001}) == StatusCode::kInvalidArgument);
  CHECK(code(sglang, {.messages = {{"system", "x"}}}) == StatusCode::kInvalidArgument);
  CHECK(code(sglang, {.messages = {{"user", "x"}}, .n = 2}) == StatusCode::kInvalidArgument);
}

TEST_CASE("a generation that is cancelled or dropped stops at the server", "[examples][language]") {
  // At this pace a story would take more than an hour; a drain that long would outlast every patience.
  const auto server = StartServer(std::chrono::milliseconds(50));
  const Client client = Connect({server->target()});
  const GenerationClient<Vllm> vllm(client);
  const GenerationClient<Sglang> sglang(client);
  auto cancelled = vllm.StreamGenerate(Story(100'000));
  REQUIRE(cancelled.Read().has_value());
  cancelled.Cancel();
  CHECK(cancelled.Finish().code() == absl::StatusCode::kCancelled);
  for (const bool chat : {false, true}) {
    GenerationRequest request = Story(100'000);
    if (chat) request.messages = {{"user", std::get<std::string>(std::exchange(request.prompt, ""))}};
    auto dropped = sglang.StreamGenerate(request);
    REQUIRE(dropped.Read().has_value());
  }
  const auto begin = std::chrono::steady_clock::now();
  server->Shutdown(std::chrono::hours(1));
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(60));
}

TEST_CASE("a generation is aborted by its id, and ends well", "[examples][language]") {
  const auto server = StartServer(std::chrono::milliseconds(20));
  const Client client = Connect({server->target()});
  using Abort = Rpc<&vllm::Control::Stub::Abort, "vllm.Control">;
  vllm::AbortRequest abort;
  abort.add_request_ids("this one");
  for (const AnyGenerationClient& llm :
       std::vector<AnyGenerationClient>{GenerationClient<Vllm>(client), GenerationClient<Sglang>(client)}) {
    INFO(llm.contract_name());
    GenerationRequest request = Story(100'000);
    request.request_id = "this one";
    auto stream = llm.StreamGenerate(request);
    REQUIRE(stream.Read().has_value());
    REQUIRE(client.Call<Abort>(abort).ok());
    std::optional<FinishReason> reason;
    for (const GenerationDelta& delta : stream) reason = delta.finish_reason;
    CHECK(stream.status().ok());
    CHECK(reason == FinishReason::kAborted);
  }
}

TEST_CASE("a generation whose server goes is gone on with by another, each token once", "[examples][language]") {
  const auto one = StartServer();
  const Client alone = Connect({one->target()});
  auto first = StartServer(std::chrono::milliseconds(5));
  const auto second = StartServer(std::chrono::milliseconds(1));
  const Client both = Connect({first->target(), second->target()});
  const absl::StatusOr<Generation> unbroken = GenerationClient<Vllm>(alone).Generate(Story(120));
  REQUIRE(unbroken.ok());
  auto stream = GenerationClient<Vllm>(both).StreamGenerate(Story(120), {.resume = true});
  std::string text;
  int deltas = 0;
  std::optional<FinishReason> reason;
  std::vector<std::int32_t> ids;
  for (const GenerationDelta& delta : stream) {
    text += delta.text;
    ids.insert(ids.end(), delta.token_ids.begin(), delta.token_ids.end());
    reason = delta.finish_reason;
    if (++deltas == 20) first->Shutdown(std::chrono::milliseconds(0));
  }
  INFO(stream.status().ToString());
  CHECK(stream.status().ok());
  CHECK(text == unbroken->text);
  CHECK(ids == unbroken->token_ids);
  CHECK(reason == FinishReason::kLength);
  CHECK(stream.usage().completion_tokens == 120);
  CHECK(both.Stats().targets.at(1).attempts > 0);
}

TEST_CASE("texts are embedded, ranked and split by the server", "[examples][language]") {
  const auto server = StartServer();
  const EmbeddingClient<TextEmbeddings> tei(Connect({server->target()}));
  const std::vector<std::string> texts = {"A steamboat came down the river.", "He painted the fence white.",
                                          "The treasure lay in a cave under the cross."};
  const absl::StatusOr<Embeddings> vectors = tei.Embed(texts);
  INFO(vectors.status().ToString());
  REQUIRE(vectors.ok());
  REQUIRE(vectors->size() == 3);
  const absl::StatusOr<Embeddings> query = tei.Embed({"steamboats on rivers"});
  REQUIRE(query.ok());
  CHECK(Cosine((*query)[0], (*vectors)[0]) > Cosine((*query)[0], (*vectors)[1]) + 0.1f);
  CHECK(Cosine((*query)[0], (*vectors)[0]) > Cosine((*query)[0], (*vectors)[2]) + 0.1f);
  const absl::StatusOr<Embeddings> small = tei.Embed(texts, {.normalize = false, .dimensions = 16});
  REQUIRE(small.ok());
  CHECK(small->dimensions() == 16);

  const absl::StatusOr<std::vector<Ranked>> ranked = tei.Rerank("Where was the treasure?", texts);
  REQUIRE(ranked.ok());
  REQUIRE(ranked->size() == 3);
  CHECK((*ranked)[0].index == 2);
  CHECK((*ranked)[0].score > (*ranked)[1].score);

  const auto sparse = tei.EmbedSparse({"the cat, the dog"});
  REQUIRE(sparse.ok());
  CHECK(sparse->at(0).size() == 4);
  const auto tokens = tei.Tokenize({"Tom's cat."});
  REQUIRE(tokens.ok());
  REQUIRE(tokens->at(0).size() == 3);
  CHECK((*tokens)[0][0].text == "Tom's");
  CHECK((*tokens)[0][1].id == static_cast<std::int32_t>(TokenId("cat")));

  CHECK(tei.Embed({""}).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(tei.Embed(texts, {.dimensions = 1000}).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(tei.Classify(texts).status().code() == absl::StatusCode::kUnimplemented);
}

TEST_CASE("SGLang's embeddings and tokens are the same", "[examples][language]") {
  const auto server = StartServer();
  const Client client = Connect({server->target()});
  using TextEmbed = Rpc<&sglang::SglangService::Stub::TextEmbed, "sglang.runtime.v1.SglangService">;
  using Tokenize = Rpc<&sglang::SglangService::Stub::Tokenize, "sglang.runtime.v1.SglangService">;
  sglang::TextEmbedRequest embed;
  embed.set_text("a cat");
  const auto vector = client.Call<TextEmbed>(embed);
  REQUIRE(vector.ok());
  CHECK(std::vector<float>(vector->embedding().begin(), vector->embedding().end()) == EmbedText("a cat"));
  sglang::TokenizeRequest tokenize;
  tokenize.set_text("a cat");
  const auto tokens = client.Call<Tokenize>(tokenize);
  REQUIRE(tokens.ok());
  REQUIRE(tokens->tokens_size() == 2);
  CHECK(tokens->tokens(1) == static_cast<std::int32_t>(TokenId("cat")));
}

}  // namespace inferwire::examples
