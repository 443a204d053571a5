// expect: a time is an absl::Duration, such as absl::Seconds(5)
#include <inferwire/client.h>

auto Use() {
  return inferwire::Client::Create({.targets = {"localhost:50051"}, .attempt_timeout = std::chrono::milliseconds(5)});
}
