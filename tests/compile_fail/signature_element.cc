// expect: a signature's elements are bool, (u)int8 to 64, Float16, BFloat16, float, double or std::string
#include <inferwire/signature.h>

template struct inferwire::Tensor<"x", long double, 3>;
