// expect: the argument's number of elements does not fill the shape that the signature says
#include "typed_model.h"

void Call(const Classify& classify, const std::array<float, 65>& pixels) { static_cast<void>(classify(pixels)); }
