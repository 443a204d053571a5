// SPDX-License-Identifier: Apache-2.0
//
// Eigen's matrices go out as they lie in memory, and answers are matrices over what was received.
#include <inferwire/contract/open_inference.h>
#include <inferwire/eigen.h>
#include <inferwire/inference.h>

#include <Eigen/LU>
#include <iostream>
#include <utility>

#include "server/local_server.h"

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

int main(int argc, char** argv) {
  const inferwire::examples::LocalServer local(argc, argv);
  const auto server = inferwire::InferenceClient<inferwire::OpenInference>::Create(
      {.targets = {local.target()}, .credentials = inferwire::Insecure()});
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }

  const Matrix identity = Matrix::Identity(3, 3);
  Matrix ones = Matrix::Ones(3, 3);
  // This model takes any shape, which its metadata cannot say: so it is not held to it.
  const auto result =
      server->GetModel("add_sub", {.check = false})
          .Infer({
              inferwire::Lend("INPUT0", identity),        // stays yours, must live until the call returns
              inferwire::Own("INPUT1", std::move(ones)),  // moved in; an expression would be evaluated in place
          });
  if (!result.ok()) {
    std::cerr << result.status() << "\n";
    return 1;
  }
  const auto sum = inferwire::AsMatrix<float, 3, 3>(*result, "OUTPUT0");
  if (!sum.ok()) {
    std::cerr << sum.status() << "\n";
    return 1;
  }
  std::cout << *sum << "\nhas the determinant " << sum->determinant() << "\n";
  return 0;
}
