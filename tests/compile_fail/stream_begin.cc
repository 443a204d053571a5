// expect: deleted function
#include <inferwire/response_stream.h>

inferwire::ResponseStream<int> Numbers();

int First() {
  auto numbers = Numbers().begin();
  return *numbers;
}
