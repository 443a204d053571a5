// expect: will be destroyed at the end of the full-expression
#include <inferwire/infer_result.h>

absl::StatusOr<inferwire::InferResult> Infer();

std::size_t Count() {
  const auto& outputs = Infer()->outputs();
  return outputs.size();
}
