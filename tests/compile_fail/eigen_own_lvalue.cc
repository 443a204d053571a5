// expect: an Eigen matrix that stays with you is not owned: move it, or use Lend(name, matrix)
#include <inferwire/eigen.h>

inferwire::InferInput Input(const Eigen::VectorXf& vector) { return inferwire::Own("x", vector); }
