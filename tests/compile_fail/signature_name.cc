// expect: two tensors of a signature have the same name
#include <inferwire/signature.h>

template struct inferwire::Inputs<inferwire::Tensor<"x", float>, inferwire::Tensor<"x", int>>;
