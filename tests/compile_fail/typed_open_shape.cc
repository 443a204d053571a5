// expect: the signature leaves more than one dimension open: give the shape too, as {data, {2, 3}}
#include "typed_model.h"

void Call(const inferwire::TypedModel<inferwire::Outputs<>,
                                      inferwire::Inputs<inferwire::Tensor<"image", float, -1, -1>>>& classify,
          const std::vector<float>& pixels) {
  static_cast<void>(classify(pixels));
}
