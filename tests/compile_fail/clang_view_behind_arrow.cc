// expect: temporary whose address is used as value of local variable 'scores' will be destroyed
#include <inferwire/infer_result.h>

absl::StatusOr<inferwire::InferResult> Infer();

float First() {
  const auto scores = Infer()->Get<float>("scores");
  return (*scores)[0];
}
