// expect: a column-major Eigen matrix does not lie in a tensor's order
#include <inferwire/eigen.h>

inferwire::InferInput Input(const Eigen::MatrixXf& matrix) { return inferwire::Lend("x", matrix); }
