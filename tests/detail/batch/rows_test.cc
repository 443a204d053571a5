// SPDX-License-Identifier: Apache-2.0
#include "inferwire/detail/batch/rows.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "inferwire/detail/base/pieces.h"
#include "support/catch.h"

using inferwire::InferInput;
using inferwire::InferRequest;
using inferwire::InferResult;
using inferwire::Shape;
using inferwire::detail::CheckRows;
using inferwire::detail::CountRows;
using inferwire::detail::JoinedRows;
using inferwire::detail::JoinKey;
using inferwire::detail::Pieces;
using inferwire::detail::SplitRows;

namespace {

InferRequest Pair(std::vector<float> x, std::vector<std::string> t) {
  const auto rows = static_cast<std::int64_t>(t.size());
  return {{"x", std::move(x), {rows, 2}}, {"t", std::move(t), {rows}}};
}
std::vector<float> Floats(const InferRequest& request, const std::string& name) {
  const auto got = request.Get<float>(name);
  REQUIRE(got.ok());
  return {got->begin(), got->end()};
}
std::vector<std::string> Texts(const InferRequest& request, const std::string& name) {
  const auto got = request.Get<std::string>(name);
  REQUIRE(got.ok());
  return {got->begin(), got->end()};
}

}  // namespace

TEST_CASE("a request's rows are the first dimension of all of its inputs", "[batch_rows]") {
  CHECK(CountRows(Pair({1, 2, 3, 4}, {"a", "b"})) == 2);
  CHECK(CountRows({{"x", std::vector<float>{1}, {1}}}) == 1);
  CHECK(CountRows({{"x", std::vector<float>{}, {3, 0}}}) == 3);
  CHECK_FALSE(CountRows({}).has_value());
  CHECK_FALSE(CountRows({{"x", std::vector<float>{1}, {}}}).has_value());
  CHECK_FALSE(CountRows({{"x", std::vector<float>{}, {0, 2}}}).has_value());
  CHECK_FALSE(CountRows({{"x", std::vector<float>{1}, {1}}, {"y", std::vector<float>{1, 2}, {2}}}).has_value());
}

TEST_CASE("requests join where names, datatypes, dimensions beside the first and outputs are the same",
          "[batch_rows]") {
  const auto x = [](Shape shape, const std::string& name = "x") {
    return InferInput(name, std::vector<float>(4), std::move(shape));
  };
  const InferRequest request = {x({2, 2})};
  CHECK(JoinKey(request) == JoinKey({x({7, 2})}));
  CHECK(JoinKey(request) != JoinKey({x({2, 3})}));
  CHECK(JoinKey(request) != JoinKey({x({2})}));
  CHECK(JoinKey(request) != JoinKey({x({2, 2, 1})}));
  CHECK(JoinKey(request) != JoinKey({x({2, 2}, "y")}));
  CHECK(JoinKey(request) != JoinKey({x({2, 2}), x({2, 2}, "y")}));
  CHECK(JoinKey(request) != JoinKey({{"x", std::vector<std::int32_t>(4), {2, 2}}}));
  CHECK(JoinKey({x({2}, "a"), x({2, 2}, "b")}) == JoinKey({x({2, 2}, "b"), x({2}, "a")}));
  CHECK(JoinKey({x({2}, "a"), x({2, 2}, "b")}) != JoinKey({x({2, 2}, "a"), x({2}, "b")}));
  InferRequest choosy = request;
  choosy.set_outputs({"scores"});
  CHECK(JoinKey(request) != JoinKey(choosy));
  // A name that looks like what stands behind names.
  CHECK(JoinKey({x({2}, "a"), x({2}, "b")}) != JoinKey({x({2}, "aFP32;1:b")}));
}

TEST_CASE("rows are appended, taken out, and become one request", "[batch_rows]") {
  const auto joined = std::make_shared<JoinedRows>(4);
  joined->Append(Pair({1, 2}, {"a"}), 1);
  joined->Append({{"t", std::vector<std::string>{"b", "c"}, {2}}, {"x", std::vector<float>{3, 4, 5, 6}, {2, 2}}}, 2);
  joined->Append(Pair({7, 8}, {std::string("\0d", 2)}), 1);
  CHECK(joined->rows() == 4);
  joined->Erase(1, 2);
  CHECK(joined->rows() == 2);
  joined->Append(Pair({9, 10}, {""}), 1);

  const InferRequest all = JoinedRows::Request(joined, 0, 3);
  CHECK(all.Validate().ok());
  CHECK(Floats(all, "x") == std::vector<float>{1, 2, 7, 8, 9, 10});
  CHECK(Texts(all, "t") == std::vector<std::string>{"a", std::string("\0d", 2), ""});
  for (const InferInput& input : all.inputs()) CHECK(input.shape()[0] == 3);

  const InferRequest last = JoinedRows::Request(joined, 2, 1);
  CHECK(last.Validate().ok());
  CHECK(Floats(last, "x") == std::vector<float>{9, 10});
  CHECK(Texts(last, "t") == std::vector<std::string>{""});
}

TEST_CASE("a joined request keeps its elements, and asks for the outputs that were asked for", "[batch_rows]") {
  InferRequest request;
  {
    auto joined = std::make_shared<JoinedRows>(1);
    std::array<double, 2> lent = {1.5, 2.5};
    InferRequest one = {{"d", std::span<const double>(lent), {1, 2}}};
    one.set_outputs({"b", "a"});
    joined->Append(one, 1);
    lent = {};
    request = JoinedRows::Request(joined, 0, 1);
  }
  CHECK(request.Get<double>("d")->back() == 2.5);
  REQUIRE(request.outputs().size() == 2);
  CHECK(request.outputs()[0].name == "b");
}

TEST_CASE("an answer is split where it lies", "[batch_rows]") {
  InferResult whole;
  whole.set_model("m");
  whole.set_version("3");
  whole.set_parameter("cached", true);
  whole.Add("scores", std::vector<float>{1, 2, 3, 4, 5, 6}, {3, 2});
  whole.Add("label", std::vector<std::string>{"a", "", "c"}, {3});
  whole.Add("none", std::vector<std::int64_t>{}, {3, 0});
  REQUIRE(CheckRows(whole, 3).ok());
  const auto part = SplitRows(whole, 1, 2);
  REQUIRE(part.ok());
  CHECK(part->model() == "m");
  CHECK(part->version() == "3");
  CHECK(std::get<bool>(part->parameters().at("cached")));
  CHECK(part->Get<float>("scores")->data() == whole.Get<float>("scores")->data() + 2);
  CHECK((*part->Find("scores"))->shape() == Shape{2, 2});
  CHECK((*part->Get<std::string_view>("label"))[0].empty());
  CHECK((*part->Get<std::string_view>("label"))[1] == "c");
  CHECK((*part->Find("none"))->shape() == Shape{2, 0});
}

TEST_CASE("parts of an answer that came in pieces outlive the whole", "[batch_rows]") {
  struct Kept {
    std::vector<std::int16_t> elements{1, 2, 3, 4, 5, 6};
    std::string text = std::string("\1\0\0\0x\3\0\0\0yyy\0\0\0\0", 16);
    std::vector<Pieces::Piece> numbers, texts;
  };
  const auto kept = std::make_shared<Kept>();
  const auto bytes = std::as_bytes(std::span(kept->elements));
  kept->numbers = {bytes.first(3), bytes.subspan(3, 4), bytes.subspan(7)};
  const auto text = std::as_bytes(std::span(kept->text));
  kept->texts = {text.first(2), text.subspan(2, 9), text.subspan(11)};
  std::weak_ptr<Kept> alive = kept;
  std::vector<InferResult> parts;
  {
    InferResult whole;
    whole.AddPieces("n", inferwire::DataType::kInt16, Pieces(kept->numbers), {3, 2}, kept);
    whole.AddPieces("t", inferwire::DataType::kBytes, Pieces(kept->texts), {3}, kept);
    REQUIRE(whole.status().ok());
    for (std::int64_t i = 0; i < 3; ++i) parts.push_back(*SplitRows(whole, i, 1));
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const auto n = parts[i].Get<std::int16_t>("n");
    REQUIRE(n.ok());
    CHECK((*n)[0] == static_cast<std::int16_t>(2 * i + 1));
    CHECK((*n)[1] == static_cast<std::int16_t>(2 * i + 2));
  }
  CHECK(parts[0].Get<std::string_view>("t")->front() == "x");
  CHECK(parts[1].Get<std::string_view>("t")->front() == "yyy");
  CHECK(parts[2].Get<std::string_view>("t")->front().empty());
  parts.clear();
  CHECK(alive.use_count() == 1);  // ours
}

TEST_CASE("an answer without a row for each of the batch is told by its output, its shape and the rows",
          "[batch_rows]") {
  InferResult fewer, scalar;
  fewer.Add("good", std::vector<float>{1, 2, 3}, {3});
  fewer.Add("scores", std::vector<float>{1, 2}, {2, 1});
  scalar.Add("loss", std::vector<float>{1}, {});
  CHECK(CheckRows(fewer, 3).code() == absl::StatusCode::kInternal);
  CHECK(CheckRows(fewer, 3).message() ==
        "output 'scores' of a batch of 3 rows has the shape [2,1]; expected 3 as its first dimension");
  CHECK(CheckRows(scalar, 1).message() ==
        "output 'loss' of a batch of 1 rows has the shape [], which has no rows; expected 1 as its first dimension");
}
