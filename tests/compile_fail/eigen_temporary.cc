// expect: a temporary Eigen matrix cannot be lent: use Own(name, matrix)
#include <inferwire/eigen.h>

inferwire::InferInput Input() { return inferwire::Lend("x", Eigen::Vector4f(1, 2, 3, 4)); }
