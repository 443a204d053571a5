// expect: lend it as std::span or move it
#include <inferwire/infer_request.h>

inferwire::InferInput Input(std::vector<float>& values) { return {"x", values, {1}}; }
