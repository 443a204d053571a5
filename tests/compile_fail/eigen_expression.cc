// expect: an Eigen expression has no memory to lend: evaluate it with Own(name, expression)
#include <inferwire/eigen.h>

inferwire::InferInput Input(const Eigen::VectorXf& vector) { return inferwire::Lend("x", 2 * vector); }
