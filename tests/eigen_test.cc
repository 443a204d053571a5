// SPDX-License-Identifier: Apache-2.0
#if __has_include(<Eigen/Core>)

#include "inferwire/eigen.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"

using inferwire::AsMatrix;
using inferwire::AsVector;
using inferwire::DataType;
using inferwire::InferInput;
using inferwire::InferResult;
using inferwire::Lend;
using inferwire::Own;
using inferwire::Shape;

using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

namespace {
std::string Message(const absl::Status& status) { return std::string(status.message()); }

RowMatrix Counting(Eigen::Index rows, Eigen::Index cols) {
  RowMatrix out(rows, cols);
  for (Eigen::Index i = 0; i < out.size(); ++i) out.data()[i] = static_cast<float>(i);
  return out;
}
template <class T = float>
std::vector<T> Sent(const InferInput& input) {
  REQUIRE(input.Validate().ok());
  const auto* const data = reinterpret_cast<const T*>(input.bytes().data());
  return std::vector<T>(data, data + input.size());
}
}  // namespace

TEST_CASE("a row-major Eigen matrix is lent with its shape", "[eigen]") {
  const RowMatrix matrix = Counting(2, 3);
  const InferInput input = Lend("x", matrix);
  CHECK(static_cast<const void*>(input.bytes().data()) == matrix.data());
  CHECK(input.shape() == Shape{2, 3});
  CHECK(input.datatype() == DataType::kFp32);
  CHECK(Sent(input) == std::vector<float>{0, 1, 2, 3, 4, 5});
  CHECK(Lend("x", matrix, {1, 6}).shape() == Shape{1, 6});
  CHECK(Message(Lend("x", matrix, {7}).Validate()) == "input 'x': shape [7] holds 7 elements, but 6 were given");
}

TEST_CASE("Eigen's vectors, arrays and contiguous views are lent, whatever their order is called", "[eigen]") {
  const Eigen::VectorXd column = Eigen::VectorXd::LinSpaced(4, 1, 4);
  CHECK(Lend("x", column).shape() == Shape{4});
  CHECK(Sent<double>(Lend("x", column)) == std::vector<double>{1, 2, 3, 4});
  const Eigen::Array<std::int64_t, 2, 2, Eigen::RowMajor> array{{1, 2}, {3, 4}};
  CHECK(Sent<std::int64_t>(Lend("x", array)) == std::vector<std::int64_t>{1, 2, 3, 4});
  float raw[6] = {1, 2, 3, 4, 5, 6};
  CHECK(Lend("x", Eigen::Map<const RowMatrix>(raw, 3, 2)).shape() == Shape{3, 2});
  const RowMatrix matrix = Counting(4, 3);
  const InferInput rows = Lend("x", matrix.middleRows(1, 2));
  CHECK(static_cast<const void*>(rows.bytes().data()) == matrix.data() + 3);
  CHECK(Sent(rows) == std::vector<float>{3, 4, 5, 6, 7, 8});
  CHECK(Sent(Lend("x", matrix.row(2))) == std::vector<float>{6, 7, 8});
  const Eigen::Ref<const RowMatrix> ref = matrix;
  CHECK(Lend("x", ref).bytes().data() == Lend("x", matrix).bytes().data());
  // What is column-major is row-major the other way round.
  const Eigen::MatrixXf columns = matrix;
  const InferInput transposed = Lend("x", columns.transpose());
  CHECK(static_cast<const void*>(transposed.bytes().data()) == columns.data());
  CHECK(transposed.shape() == Shape{3, 4});
  CHECK(Sent(transposed)[1] == matrix(1, 0));
}

TEST_CASE("empty and single Eigen matrices are lent", "[eigen]") {
  CHECK(Lend("x", Counting(4, 3).middleRows(1, 0)).Validate().ok());
  const RowMatrix one = Counting(1, 1);
  CHECK(Sent(Lend("x", one, {})) == std::vector<float>{0});
  // Strides between rows and columns of which there is one mean nothing.
  const RowMatrix matrix = Counting(4, 3);
  CHECK(Sent(Lend("x", matrix.block(1, 1, 1, 1))) == std::vector<float>{4});
  CHECK(Sent(Lend("x", matrix.block(1, 1, 1, 2))) == std::vector<float>{4, 5});
}

TEST_CASE("an Eigen view with gaps is refused, and copied where it is to be owned", "[eigen]") {
  const RowMatrix matrix = Counting(4, 3);
  CHECK(Message(Lend("x", matrix.leftCols(2)).Validate()) ==
        "input 'x': the elements of this Eigen view do not lie one behind another: an inner stride of 1, an outer "
        "stride of 3, but 2 elements a row; copy it with Own(name, view)");
  CHECK(Sent(Own("x", matrix.leftCols(2))) == std::vector<float>{0, 1, 3, 4, 6, 7, 9, 10});
  const Eigen::MatrixXf columns = matrix;
  CHECK_FALSE(Lend("x", columns.row(1)).Validate().ok());
  CHECK(Sent(Own("x", columns.row(1))) == std::vector<float>{3, 4, 5});
  const Eigen::Ref<const Eigen::VectorXf, 0, Eigen::InnerStride<>> column = matrix.col(1);
  CHECK_FALSE(Lend("x", column).Validate().ok());
  CHECK(Sent(Own("x", column)) == std::vector<float>{1, 4, 7, 10});
}

TEST_CASE("a moved-in Eigen matrix is owned where it is, and expressions are evaluated once", "[eigen]") {
  RowMatrix matrix = Counting(2, 3);
  const float* const data = matrix.data();
  std::optional<InferInput> input = Own("x", std::move(matrix));
  CHECK(static_cast<const void*>(input->bytes().data()) == data);
  const InferInput copy = *input;
  input.reset();
  CHECK(Sent(copy) == std::vector<float>{0, 1, 2, 3, 4, 5});
  const Eigen::MatrixXf columns = Counting(2, 2);
  CHECK(Sent(Own("x", 2 * columns)) == std::vector<float>{0, 2, 4, 6});
  CHECK(Sent(Own("x", columns * columns)) == std::vector<float>{2, 3, 6, 11});
  CHECK(Sent(Own("x", columns.array() + 1)) == std::vector<float>{1, 2, 3, 4});
  CHECK(Own("x", columns.array() > 1).datatype() == DataType::kBool);
  CHECK(Own("x", Eigen::Vector4d(1, 2, 3, 4)).shape() == Shape{4});
  CHECK(Own("x", Eigen::Vector4d(1, 2, 3, 4), {2, 2}).shape() == Shape{2, 2});
}

TEST_CASE("Eigen's small floats are FP16 and BF16", "[eigen]") {
  using Half = Eigen::Matrix<Eigen::half, 1, 2, Eigen::RowMajor>;
  using Brain = Eigen::Matrix<Eigen::bfloat16, 1, 2, Eigen::RowMajor>;
  const Half half(Eigen::half(1.5f), Eigen::half(-2.0f));
  const Brain brain(Eigen::bfloat16(1.5f), Eigen::bfloat16(-2.0f));
  CHECK(Lend("x", half).datatype() == DataType::kFp16);
  CHECK(Sent<inferwire::Float16>(Lend("x", half))[0] == inferwire::Float16(1.5f));
  CHECK(Lend("x", brain).datatype() == DataType::kBf16);
  CHECK(Sent<inferwire::BFloat16>(Lend("x", brain))[1] == inferwire::BFloat16(-2.0f));
  InferResult result;
  result.Add("h", std::vector<inferwire::Float16>{inferwire::Float16(0.5f)}, {1, 1});
  const auto back = AsMatrix<Eigen::half>(result, "h");
  REQUIRE(back.ok());
  CHECK(static_cast<float>((*back)(0, 0)) == 0.5f);
}

TEST_CASE("outputs are seen as Eigen maps of their memory", "[eigen]") {
  InferResult result;
  result.Add("scores", std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  result.Add("cube", std::vector<std::int32_t>{1, 2, 3, 4}, {2, 2, 1});
  const auto scores = AsMatrix<float>(result, "scores");
  REQUIRE(scores.ok());
  CHECK(scores->data() == result.Get<float>("scores")->data());
  CHECK((*scores)(1, 0) == 4);
  CHECK((AsMatrix<float, Eigen::Dynamic, 3>(result, "scores")->colwise().sum() == Eigen::RowVector3f(5, 7, 9)));
  CHECK(AsVector<float>(result, "scores")->sum() == 21);
  CHECK((*AsVector<std::int32_t, 4>(result, "cube"))[3] == 4);

  CHECK(Message(AsMatrix<float, 2, 2>(result, "scores").status()) ==
        "output 'scores' has the shape [2,3]; expected a matrix of [2,2], -1 being any size");
  CHECK(Message(AsMatrix<std::int32_t>(result, "cube").status()) ==
        "output 'cube' has the shape [2,2,1]; expected a matrix of [-1,-1], -1 being any size");
  CHECK(Message(AsVector<float, 5>(result, "scores").status()) == "output 'scores' has 6 elements; expected 5");
  CHECK(Message(AsMatrix<double>(result, "scores").status()) == "output 'scores' is FP32; expected FP64");
  CHECK(AsMatrix<float>(result, "score").status().code() == absl::StatusCode::kNotFound);
}

#endif
