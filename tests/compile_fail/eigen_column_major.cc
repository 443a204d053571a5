// expect: a column-major Eigen matrix does not lie in a tensor's order: declare it Eigen::RowMajor, or send its transpose()
#include <inferwire/eigen.h>

inferwire::InferInput Input(const Eigen::MatrixXf& matrix) { return inferwire::Lend("x", matrix); }
