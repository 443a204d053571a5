// expect: Get gives a view of the result, which ends with this expression
#include <inferwire/infer_result.h>

absl::StatusOr<inferwire::InferResult> Infer();

float First() { return Infer().value().Get<float>("scores")->front(); }
