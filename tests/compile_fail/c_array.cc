// expect: lend it as std::span or move it
#include <inferwire/infer_request.h>

inferwire::InferInput Input(float (&pixels)[64]) { return {"x", pixels, {64}}; }
