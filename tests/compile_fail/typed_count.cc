// expect: this call takes as many arguments as its signature has inputs, then at most CallOptions
#include "typed_model.h"

void Call(const Classify& classify) { classify(); }
