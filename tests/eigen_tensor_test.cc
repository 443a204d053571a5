// SPDX-License-Identifier: Apache-2.0
#if __has_include(<unsupported/Eigen/CXX11/Tensor>)

#include "inferwire/eigen_tensor.h"

#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"

using inferwire::AsTensor;
using inferwire::InferInput;
using inferwire::InferResult;
using inferwire::Lend;
using inferwire::Own;
using inferwire::Shape;

using Cube = Eigen::Tensor<float, 3, Eigen::RowMajor>;

template <class T>
concept Lendable = requires(T&& tensor) { inferwire::Lend("x", std::forward<T>(tensor)); };
static_assert(Lendable<const Cube&> && !Lendable<Cube>);

TEST_CASE("a row-major Eigen tensor is lent, or owned where it is", "[eigen]") {
  Cube cube(2, 3, 4);
  cube.setZero();
  cube(1, 0, 2) = 7;
  const float* const data = cube.data();
  const InferInput lent = Lend("x", cube);
  REQUIRE(lent.Validate().ok());
  CHECK(static_cast<const void*>(lent.bytes().data()) == data);
  CHECK(lent.shape() == Shape{2, 3, 4});
  CHECK(reinterpret_cast<const float*>(lent.bytes().data())[14] == 7);
  CHECK(Lend("x", Eigen::TensorMap<const Cube>(data, 4, 3, 2)).shape() == Shape{4, 3, 2});
  const InferInput owned = Own("x", std::move(cube));
  CHECK(static_cast<const void*>(owned.bytes().data()) == data);
  const Eigen::Tensor<double, 0, Eigen::RowMajor> scalar;
  CHECK(Lend("x", scalar).Validate().ok());
}

TEST_CASE("an output of as many dimensions is seen as an Eigen tensor", "[eigen]") {
  InferResult result;
  result.Add("y", std::vector<std::int32_t>{1, 2, 3, 4}, {2, 1, 2});
  const auto tensor = AsTensor<std::int32_t, 3>(result, "y");
  REQUIRE(tensor.ok());
  CHECK((*tensor)(1, 0, 0) == 3);
  CHECK(tensor->data() == result.Get<std::int32_t>("y")->data());
  CHECK(std::string(AsTensor<std::int32_t, 2>(result, "y").status().message()) ==
        "output 'y' has the shape [2,1,2]; expected 2 dimensions");
  CHECK_FALSE(AsTensor<float, 3>(result, "y").ok());
}

#endif
