// expect: keep the result, as `auto result = model.Infer(...)`, then result->Get
#include <inferwire/infer_result.h>

absl::StatusOr<inferwire::InferResult> Infer();

float First() {
  const auto scores = (*Infer()).Get<float>("scores");
  return (*scores)[0];
}
