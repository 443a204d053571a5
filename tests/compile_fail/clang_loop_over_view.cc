// expect: temporary implicitly bound to local reference will be destroyed
#include <inferwire/infer_result.h>

absl::StatusOr<inferwire::InferResult> Infer();

float Sum() {
  float sum = 0;
  for (const float score : *Infer()->Get<float>("scores")) sum += score;
  return sum;
}
