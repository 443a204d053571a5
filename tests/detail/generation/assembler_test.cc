// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/generation/assembler.h"

#include <absl/status/status.h>

#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"

using inferwire::FinishReason;
using inferwire::GenerationChunk;
using inferwire::GenerationDelta;
using inferwire::GenerationPiece;
using inferwire::Tokenizer;
using inferwire::detail::Assembler;
using inferwire::detail::BeginningOfStop;
using inferwire::detail::UnfinishedCharacter;

namespace {

GenerationPiece PieceOf(std::string text, std::optional<FinishReason> finish = std::nullopt) {
  GenerationPiece piece;
  piece.text = std::move(text);
  piece.finish_reason = finish;
  return piece;
}
GenerationPiece AllSoFar(std::string text, std::optional<FinishReason> finish = std::nullopt) {
  GenerationPiece piece = PieceOf(std::move(text), finish);
  piece.cumulative = true;
  return piece;
}

// What a reader gets of pieces, one a message.
struct Fed {
  explicit Fed(Assembler::Terms terms = {}) : assembler(std::move(terms)) {}
  absl::Status Feed(GenerationPiece piece, int attempt = 0) {
    GenerationChunk chunk;
    chunk.attempt = attempt;
    chunk.pieces.push_back(std::move(piece));
    return assembler.Feed(std::move(chunk), deltas);
  }
  std::vector<std::string> texts(int index = 0) const {
    std::vector<std::string> out;
    for (const GenerationDelta& delta : deltas) {
      if (delta.index == index) out.push_back(delta.text);
    }
    return out;
  }
  std::string text() const {
    std::string out;
    for (const std::string& one : texts()) out += one;
    return out;
  }

  Assembler assembler;
  std::deque<GenerationDelta> deltas;
};

}  // namespace

TEST_CASE("how much of a text's end is an unfinished character", "[generation]") {
  const struct {
    std::string text;
    std::size_t back;
  } rows[] = {{"", 0},
              {"a", 0},
              {"\xC3", 1},
              {"\xC3\xA9", 0},
              {"a\xE2", 1},
              {"\xE2\x82", 2},
              {"\xE2\x82\xAC", 0},
              {"\xF0\x9F\x98", 3},
              {"\xF0\x9F\x98\x80", 0},
              {"\x80", 0},
              {"\x80\x80\x80\x80", 0},
              {"\xFF", 0},
              {"a\xE2\x82x", 0}};
  for (const auto& [text, back] : rows) {
    INFO(text);
    CHECK(UnfinishedCharacter(text) == back);
  }
}

TEST_CASE("how much of a text's end may begin a stop string", "[generation]") {
  const std::vector<std::string> stops = {"END", "\n\n", "ENOUGH"};
  CHECK(BeginningOfStop("text", stops) == 0);
  CHECK(BeginningOfStop("textE", stops) == 1);
  CHECK(BeginningOfStop("textEN", stops) == 2);
  CHECK(BeginningOfStop("textENO", stops) == 3);
  CHECK(BeginningOfStop("EN\n", stops) == 1);
  CHECK(BeginningOfStop("", stops) == 0);
  CHECK(BeginningOfStop("x", {}) == 0);
}

TEST_CASE("deltas are given as they come, and the end once", "[generation]") {
  Fed fed;
  CHECK(fed.Feed(PieceOf("a")).ok());
  CHECK(fed.Feed(PieceOf("")).ok());  // nothing new is no delta
  CHECK(fed.Feed(PieceOf("b", FinishReason::kLength)).ok());
  CHECK(fed.Feed(PieceOf("late")).ok());
  CHECK(fed.texts() == std::vector<std::string>{"a", "b"});
  CHECK(fed.deltas[1].finish_reason == FinishReason::kLength);
  CHECK(fed.assembler.finished());
  CHECK(fed.assembler.Close(fed.deltas).ok());
  CHECK(fed.deltas.size() == 2);
}

TEST_CASE("what is told from the beginning each time is given once", "[generation]") {
  Fed fed;
  CHECK(fed.Feed(AllSoFar("a")).ok());
  CHECK(fed.Feed(AllSoFar("ab")).ok());
  CHECK(fed.Feed(AllSoFar("ab")).ok());
  CHECK(fed.Feed(AllSoFar("abcd", FinishReason::kStop)).ok());
  CHECK(fed.texts() == std::vector<std::string>{"a", "b", "cd"});
  Fed shrinking;
  CHECK(shrinking.Feed(AllSoFar("abc")).ok());
  CHECK(shrinking.Feed(AllSoFar("ab")).code() == absl::StatusCode::kInternal);
}

TEST_CASE("what stands for an unfinished character is not given before it is one", "[generation]") {
  Fed fed;
  CHECK(fed.Feed(AllSoFar("caf\xEF\xBF\xBD")).ok());
  CHECK(fed.Feed(AllSoFar("caf\xC3\xA9")).ok());
  CHECK(fed.Feed(AllSoFar("caf\xC3\xA9s", FinishReason::kStop)).ok());
  CHECK(fed.texts() == std::vector<std::string>{"caf", "\xC3\xA9", "s"});
}

TEST_CASE("a delta never ends inside a character", "[generation]") {
  const std::string text = "na\xC3\xAFve \xE2\x82\xAC \xF0\x9F\x98\x80!";
  for (std::size_t at = 1; at < text.size(); ++at) {
    INFO(at);
    Fed fed;
    CHECK(fed.Feed(PieceOf(text.substr(0, at))).ok());
    CHECK(fed.Feed(PieceOf(text.substr(at), FinishReason::kStop)).ok());
    CHECK(fed.text() == text);
    for (const std::string& one : fed.texts()) CHECK(UnfinishedCharacter(one) == 0);
  }
  Fed cut;  // whose rest never comes
  CHECK(cut.Feed(PieceOf("a\xE2\x82")).ok());
  CHECK(cut.Feed(PieceOf("", FinishReason::kLength)).ok());
  CHECK(cut.text() == "a\xEF\xBF\xBD");
}

TEST_CASE("stop strings end a sequence wherever messages part them", "[generation]") {
  const std::string text = "one END two";
  for (std::size_t at = 1; at < text.size(); ++at) {
    INFO(at);
    Fed fed({.stop = {"END", "never"}});
    CHECK(fed.Feed(PieceOf(text.substr(0, at))).ok());
    CHECK(fed.Feed(PieceOf(text.substr(at))).ok());
    CHECK(fed.text() == "one ");
    CHECK(fed.assembler.finished());
    CHECK(fed.assembler.stopped_here());
    CHECK(fed.deltas.back().finish_reason == FinishReason::kStop);
    CHECK(fed.deltas.back().stopped_by == inferwire::StoppedBy("END"));
  }
  Fed first({.stop = {"b", "ab"}});  // the first that comes
  CHECK(first.Feed(PieceOf("xaby")).ok());
  CHECK(first.text() == "x");
  Fed nearly({.stop = {"END"}});
  CHECK(nearly.Feed(PieceOf("EN")).ok());
  CHECK(nearly.deltas.empty());
  CHECK(nearly.Feed(PieceOf("", FinishReason::kLength)).ok());
  CHECK(nearly.text() == "EN");
}

TEST_CASE("a repeated last delta counts once, and alone it is all there is", "[generation]") {
  GenerationPiece last = PieceOf("b", FinishReason::kStop);
  last.token_ids = {2};
  last.repeats = true;
  GenerationPiece before = PieceOf("b");
  before.token_ids = {2};
  Fed streamed;
  CHECK(streamed.Feed(PieceOf("a")).ok());
  CHECK(streamed.Feed(before).ok());
  CHECK(streamed.Feed(last).ok());
  CHECK(streamed.text() == "ab");
  CHECK(streamed.deltas.back().token_ids.empty());
  Fed whole;
  CHECK(whole.Feed(last).ok());
  CHECK(whole.text() == "b");
  CHECK(whole.deltas.back().token_ids == std::vector<std::int32_t>{2});
}

TEST_CASE("sequences are told apart, and one that was not asked for is an error", "[generation]") {
  Fed fed({.n = 2});
  GenerationPiece second = PieceOf("x");
  second.index = 1;
  CHECK(fed.Feed(PieceOf("a")).ok());
  CHECK(fed.Feed(second).ok());
  CHECK(fed.Feed(PieceOf("b", FinishReason::kStop)).ok());
  CHECK(!fed.assembler.finished());
  second.finish_reason = FinishReason::kLength;
  CHECK(fed.Feed(second).ok());
  CHECK(fed.assembler.finished());
  CHECK(fed.texts(0) == std::vector<std::string>{"a", "b"});
  CHECK(fed.texts(1) == std::vector<std::string>{"x", "x"});
  for (const int index : {-1, 2}) {
    second.index = index;
    CHECK(fed.Feed(second).code() == absl::StatusCode::kInternal);
  }
}

TEST_CASE("tokens are counted by what the server says of them", "[generation]") {
  Fed fed;
  CHECK(!fed.assembler.usage().completion_tokens.has_value());
  GenerationPiece three = PieceOf("a");
  three.token_ids = {1, 2, 3};
  CHECK(fed.Feed(three).ok());
  CHECK(fed.assembler.usage().completion_tokens == 3);
  GenerationPiece told = PieceOf("b");
  told.tokens = 2;
  CHECK(fed.Feed(told).ok());
  CHECK(fed.assembler.usage().completion_tokens == 5);
  GenerationPiece so_far = PieceOf("c", FinishReason::kStop);
  so_far.tokens_so_far = 7;
  CHECK(fed.Feed(so_far).ok());
  CHECK(fed.assembler.usage().completion_tokens == 7);
}

TEST_CASE("an attempt that goes on begins its own count", "[generation]") {
  Fed fed({.keeps = true});
  GenerationPiece piece = AllSoFar("ab");
  piece.tokens_so_far = 2;
  CHECK(fed.Feed(piece).ok());
  CHECK(fed.assembler.received_text() == "ab");
  CHECK(fed.assembler.received_tokens() == 2);
  piece = AllSoFar("cd", FinishReason::kStop);
  piece.tokens_so_far = 3;
  CHECK(fed.Feed(piece, /*attempt=*/1).ok());
  CHECK(fed.text() == "abcd");
  CHECK(fed.assembler.usage().completion_tokens == 5);
}

TEST_CASE("a tokenizer makes text of ids, also where a character is parted", "[generation]") {
  Tokenizer tokenizer;
  tokenizer.decode = [](std::span<const std::int32_t> ids) -> absl::StatusOr<std::string> {
    std::string out;
    for (const std::int32_t id : ids) out.push_back(static_cast<char>(id));
    return out;
  };
  Fed fed({.tokenizer = tokenizer});
  GenerationPiece piece;
  piece.token_ids = {'a', 0xC3};
  CHECK(fed.Feed(piece).ok());
  piece.token_ids = {0xA9};
  piece.finish_reason = FinishReason::kStop;
  CHECK(fed.Feed(piece).ok());
  CHECK(fed.texts() == std::vector<std::string>{"a", "\xC3\xA9"});
  tokenizer.decode = [](std::span<const std::int32_t>) -> absl::StatusOr<std::string> { throw 1; };
  Fed throwing({.tokenizer = tokenizer});
  piece.finish_reason.reset();
  CHECK(throwing.Feed(piece).code() == absl::StatusCode::kInternal);
}

TEST_CASE("a stream that ends without an end is an error, where the contract would have told", "[generation]") {
  Fed fed;
  CHECK(fed.Feed(PieceOf("a")).ok());
  CHECK(fed.assembler.Close(fed.deltas).code() == absl::StatusCode::kInternal);
  Fed silent({.tells_finish = false});
  CHECK(silent.Feed(PieceOf("a")).ok());
  CHECK(silent.assembler.Close(silent.deltas).ok());
  CHECK(silent.deltas.back().finish_reason == FinishReason::kStop);
  CHECK(silent.deltas.back().finish_word.empty());
}

TEST_CASE("tokens that a server counts together are counted over attempts", "[generation]") {
  Fed fed({.keeps = true});
  for (int attempt = 0; attempt < 3; ++attempt) {
    GenerationChunk chunk;
    chunk.attempt = attempt;
    chunk.completion_tokens = 3;
    chunk.pieces.push_back(PieceOf("abc"));
    CHECK(fed.assembler.Feed(std::move(chunk), fed.deltas).ok());
    CHECK(fed.assembler.usage().completion_tokens == 3 * (attempt + 1));
    CHECK(fed.assembler.received_tokens() == 3 * (attempt + 1));
  }
}

TEST_CASE("where a server counts nothing, messages stand for tokens when a generation goes on", "[generation]") {
  Fed fed({.tells_finish = false, .keeps = true});
  for (const char* const text : {"a", "", "b"}) CHECK(fed.Feed(PieceOf(text)).ok());
  CHECK(fed.assembler.received_tokens() == 2);
  CHECK(!fed.assembler.usage().completion_tokens.has_value());
}

TEST_CASE("an attempt that breaks before it tells its count is counted by what it brought", "[generation]") {
  Fed fed({.keeps = true});
  GenerationPiece piece = PieceOf("abc");
  piece.token_ids = {1, 2, 3};
  CHECK(fed.Feed(piece).ok());
  GenerationChunk last;
  last.attempt = 1;
  last.completion_tokens = 2;
  last.pieces.push_back(PieceOf("de", FinishReason::kStop));
  CHECK(fed.assembler.Feed(std::move(last), fed.deltas).ok());
  CHECK(fed.assembler.usage().completion_tokens == 5);
}

TEST_CASE("numbers that no server has are none", "[generation]") {
  Fed fed;
  for (const std::int64_t count : {(std::numeric_limits<std::int64_t>::max)(), std::int64_t{-5}}) {
    GenerationPiece piece = PieceOf("a");
    piece.tokens = count;
    CHECK(fed.Feed(piece).ok());
    CHECK(*fed.assembler.usage().completion_tokens >= 0);
  }
}
