// expect: the argument is neither a span nor a container of elements of the type that the signature gives this input
#include "typed_model.h"

void Call(const Classify& classify, const std::vector<double>& pixels) { static_cast<void>(classify(pixels)); }
