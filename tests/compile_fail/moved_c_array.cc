// expect: lend it as std::span(array), or use a std::array
#include <inferwire/infer_request.h>

inferwire::InferInput Input(float (&pixels)[64]) { return {"x", std::move(pixels), {64}}; }
