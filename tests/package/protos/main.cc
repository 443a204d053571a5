// SPDX-License-Identifier: Apache-2.0
//
// usage: main PLUGIN... : loads them all, into a program that has the generated code too.
#include <dlfcn.h>

#include <cstdio>

#include "api/door.pb.h"

int main(int argc, char** argv) {
  acme::door::Open open;
  open.mutable_lock()->set_pins(5);
  int sum = open.lock().pins();
  for (int i = 1; i < argc; ++i) {
    void* const plugin = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
    if (plugin == nullptr) {
      std::fprintf(stderr, "%s\n", dlerror());
      return 2;
    }
    sum += reinterpret_cast<int (*)(int)>(dlsym(plugin, "Teeth"))(10);
  }
  std::printf("%d\n", sum);
  return sum == 27 ? 0 : 1;
}
