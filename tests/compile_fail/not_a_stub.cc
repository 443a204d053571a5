// expect: Rpc takes a pointer to a blocking method of a generated stub
#include <inferwire/rpc.h>

struct Stub {
  int Call(int);
};
template struct inferwire::Rpc<&Stub::Call>;
