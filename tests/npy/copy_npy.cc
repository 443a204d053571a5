// SPDX-License-Identifier: Apache-2.0
//
// copy_npy FROM TO: reads one .npy file and writes it anew, for the test against NumPy. Errors go to stderr.
#include <inferwire/npy.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " FROM TO\n";
    return 2;
  }
  const absl::StatusOr<inferwire::InferInput> input = inferwire::ReadNpy("x", argv[1]);
  absl::Status status = input.ok() ? inferwire::WriteNpy(*input, argv[2]) : input.status();
  if (status.ok()) return 0;
  std::cerr << status << "\n";
  return 1;
}
