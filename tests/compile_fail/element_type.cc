// expect: a tensor's elements are bool, (u)int8 to 64, Float16, BFloat16, float, double or std::string
#include <inferwire/infer_request.h>

inferwire::InferInput Input(std::span<const long double> values) { return {"x", values, {1}}; }
