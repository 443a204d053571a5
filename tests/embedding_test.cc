// SPDX-License-Identifier: Apache-2.0
#include "inferwire/embedding.h"

#include <absl/status/status.h>
#include <absl/time/time.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "inferwire/contract/tei.h"
#include "inferwire/testing/fake_server.h"
#include "support/catch.h"

using inferwire::Embeddings;
using inferwire::TextEmbeddings;
using inferwire::testing::FakeServer;

namespace {

inferwire::EmbeddingClient<TextEmbeddings> Embedder(const std::string& target) {
  auto client = inferwire::EmbeddingClient<TextEmbeddings>::Create(
      {.targets = {target}, .credentials = inferwire::Insecure(), .retry = {.initial_backoff = absl::Milliseconds(1)}});
  REQUIRE(client.ok());
  return *std::move(client);
}

// Each text's length, and 1.
grpc::Status Lengths(inferwire::testing::Call& call) {
  const auto bytes = call.Read();
  inferwire::tei::EmbedRequest request;
  if (!bytes.has_value() || !request.ParseFromString(*bytes)) return {grpc::StatusCode::INTERNAL, "no request"};
  if (request.inputs() == "bad") return {grpc::StatusCode::INVALID_ARGUMENT, "what a text"};
  inferwire::tei::EmbedResponse response;
  response.add_embeddings(static_cast<float>(request.inputs().size()));
  response.add_embeddings(1);
  call.Write(response.SerializeAsString());
  return grpc::Status();
}

}  // namespace

TEST_CASE("texts are embedded in their order, however many", "[embedding]") {
  FakeServer fake;
  fake.On<TextEmbeddings::EmbedForm::Method>().Do(Lengths);
  const auto tei = Embedder(fake.target());
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < 100; ++i) texts.push_back(std::string(i + 1, 'x'));
  const absl::StatusOr<Embeddings> vectors = tei.Embed(texts, {.max_in_flight = 7});
  REQUIRE(vectors.ok());
  REQUIRE(vectors->size() == 100);
  CHECK(vectors->dimensions() == 2);
  for (std::size_t i = 0; i < 100; ++i) CHECK((*vectors)[i][0] == static_cast<float>(i + 1));
  CHECK(vectors->values().size() == 200);
  const absl::StatusOr<Embeddings> later = tei.AsyncEmbed({"a cat", "a dog!"}).Get();
  REQUIRE(later.ok());
  CHECK((*later)[1][0] == 6);
}

TEST_CASE("the first error is the whole's and names the text; options that make no sense are refused", "[embedding]") {
  FakeServer fake;
  fake.On<TextEmbeddings::EmbedForm::Method>().Do(Lengths);
  const auto tei = Embedder(fake.target());
  const absl::Status bad = tei.Embed({"a", "b", "bad", "c"}).status();
  CHECK(bad.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(bad.message()).find("what a text") != std::string::npos);
  CHECK(std::string(bad.message()).find("of text 2") != std::string::npos);
  const auto refused = [&](const absl::Status& status, const std::string& part) {
    INFO(status);
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).find(part) != std::string::npos);
  };
  refused(tei.Embed({}).status(), "there is no text");
  refused(tei.Embed({"a"}, {.model = "m"}).status(), "the contract tei cannot carry model");
  refused(tei.Embed({"a"}, {.dimensions = 0}).status(), "dimensions is 0");
  refused(tei.Embed({"a"}, {.max_batch = 0}).status(), "max_batch is 0");
  refused(tei.Embed({"a"}, {.max_in_flight = 0}).status(), "max_in_flight is 0");
  refused(tei.Embed({"\xFF"}).status(), "UTF-8");
}

TEST_CASE("the time that is given is for all texts together", "[embedding]") {
  FakeServer fake;
  fake.On<TextEmbeddings::EmbedForm::Method>().Delay(absl::Milliseconds(60)).Do(Lengths);
  const auto tei = Embedder(fake.target());
  const std::vector<std::string> texts(20, "x");
  const absl::Status late = tei.Embed(texts, {.max_in_flight = 1}, {.timeout = absl::Milliseconds(300)}).status();
  CHECK(late.code() == absl::StatusCode::kDeadlineExceeded);
}

TEST_CASE("vectors that contradict one another are an error", "[embedding]") {
  FakeServer fake;
  inferwire::tei::EmbedResponse two, three;
  for (const float value : {1.0f, 2.0f}) two.add_embeddings(value);
  for (const float value : {1.0f, 2.0f, 3.0f}) three.add_embeddings(value);
  fake.On<TextEmbeddings::EmbedForm::Method>().Reply(two).Times(1).Then().Reply(three).Times(1).Then().Reply({});
  const auto tei = Embedder(fake.target());
  CHECK(tei.Embed({"a", "b"}, {.max_in_flight = 1}).status().code() == absl::StatusCode::kInternal);
  CHECK(tei.Embed({"a"}).status().code() == absl::StatusCode::kInternal);  // no dimensions at all
}

TEST_CASE("texts are ranked, the best first, also where they are more than a server takes", "[embedding]") {
  FakeServer fake;
  std::atomic<int> asked{0};
  fake.On<TextEmbeddings::RerankForm::Method>().Do([&](inferwire::testing::Call& call) -> grpc::Status {
    const auto bytes = call.Read();
    inferwire::tei::RerankRequest request;
    if (!bytes.has_value() || !request.ParseFromString(*bytes)) return {grpc::StatusCode::INTERNAL, "no request"};
    if (request.texts_size() > 3) return {grpc::StatusCode::INVALID_ARGUMENT, "too many"};
    ++asked;
    inferwire::tei::RerankResponse response;
    for (int i = request.texts_size() - 1; i >= 0; --i) {
      auto& rank = *response.add_ranks();
      rank.set_index(static_cast<std::uint32_t>(i));
      rank.set_score(static_cast<float>(request.texts(i).size()));
    }
    call.Write(response.SerializeAsString());
    return grpc::Status();
  });
  const auto tei = Embedder(fake.target());
  const auto best = tei.Rerank("pets", {"a", "cccc", "bb", "ddd", "eeeee", "f", "gg"}, {.max_batch = 3});
  REQUIRE(best.ok());
  REQUIRE(best->size() == 7);
  CHECK((*best)[0].index == 4);
  CHECK((*best)[1].index == 1);
  CHECK((*best)[6].score == 1);
  CHECK(asked == 3);
  CHECK(tei.Rerank("pets", {"a", "b", "c", "d"}).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("ranks that contradict the request are an error", "[embedding]") {
  FakeServer fake;
  inferwire::tei::RerankResponse twice, beyond, missing;
  for (int i = 0; i < 2; ++i) twice.add_ranks()->set_index(0);
  beyond.add_ranks()->set_index(9);
  fake.On<TextEmbeddings::RerankForm::Method>().Reply(twice).Times(1).Then().Reply(beyond).Times(1).Then().Reply(
      missing);
  const auto tei = Embedder(fake.target());
  for (int i = 0; i < 3; ++i) CHECK(tei.Rerank("q", {"a", "b"}).status().code() == absl::StatusCode::kInternal);
}

TEST_CASE("sparse vectors, tokens' vectors, classes and tokens", "[embedding]") {
  FakeServer fake;
  inferwire::tei::EmbedSparseResponse sparse;
  auto& term = *sparse.add_sparse_embeddings();
  term.set_index(7);
  term.set_value(0.5f);
  fake.On<TextEmbeddings::EmbedSparseForm::Method>().Reply(sparse);
  inferwire::tei::EmbedAllResponse all;
  for (int i = 0; i < 3; ++i) all.add_token_embeddings()->add_embeddings(static_cast<float>(i));
  fake.On<TextEmbeddings::EmbedTokensForm::Method>().Reply(all);
  inferwire::tei::PredictResponse classes;
  for (const auto& [label, score] : {std::pair("no", 0.2f), std::pair("yes", 0.8f)}) {
    auto& one = *classes.add_predictions();
    one.set_label(label);
    one.set_score(score);
  }
  fake.On<TextEmbeddings::ClassifyForm::Method>().Reply(classes);
  inferwire::tei::EncodeResponse tokens;
  tokens.add_tokens()->set_id(101);
  tokens.mutable_tokens(0)->set_special(true);
  fake.On<TextEmbeddings::TokenizeForm::Method>().Reply(tokens);
  const auto tei = Embedder(fake.target());
  const auto terms = tei.EmbedSparse({"x"});
  REQUIRE(terms.ok());
  CHECK((*terms)[0][0].index == 7);
  const auto rows = tei.EmbedTokens({"x", "y"});
  REQUIRE(rows.ok());
  CHECK((*rows)[1].size() == 3);
  const auto likely = tei.Classify({"x"});
  REQUIRE(likely.ok());
  CHECK((*likely)[0][0].label == "yes");
  const auto ids = tei.Tokenize({"x"});
  REQUIRE(ids.ok());
  CHECK((*ids)[0][0].id == 101);
  CHECK((*ids)[0][0].special);
}
