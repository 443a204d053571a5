// expect: lend it as std::span or move it
#include "typed_model.h"

void Call(const Classify& classify, const std::vector<float>& pixels) { classify.Async(pixels).Detach(); }
