// expect: Bind takes Outputs<Tensor<...>...>, then Inputs<Tensor<...>...>
#include "typed_model.h"

template class inferwire::TypedModel<inferwire::Inputs<>, inferwire::Outputs<>>;
