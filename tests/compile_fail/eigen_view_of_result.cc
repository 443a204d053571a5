// expect: deleted function
#include <inferwire/eigen.h>

absl::StatusOr<inferwire::InferResult> Infer();

float Sum() { return inferwire::AsMatrix<float>(*Infer(), "scores")->sum(); }
