// expect: the elements of this Eigen view do not lie side by side (its inner stride is not 1)
#include <inferwire/eigen.h>

inferwire::InferInput Input(const Eigen::Map<const Eigen::VectorXf, 0, Eigen::InnerStride<2>>& view) {
  return inferwire::Lend("x", view);
}
