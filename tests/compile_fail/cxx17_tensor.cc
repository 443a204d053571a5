// expect: expected C++20 or later; compile with -std=c++20, or CMAKE_CXX_STANDARD 20
// flags: -std=c++17
#include <inferwire/tensor.h>
