// expect: a time is an absl::Duration, such as absl::Seconds(5)
#include <inferwire/client.h>

auto Use() { return inferwire::Client::Create({.targets = {"localhost:50051"}, .timeout = 2.5}); }
