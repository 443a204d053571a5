// expect: Get gives a view of the request, which ends with this expression
#include <inferwire/infer_request.h>

inferwire::InferRequest Request();

float First() { return Request().Get<float>("row")->front(); }
