// expect: Bind takes Outputs<Tensor<...>...>, then Inputs<Tensor<...>...>
#include "typed_model.h"

template class inferwire::TypedModel<acme::Contract, inferwire::Inputs<>, inferwire::Outputs<>>;
