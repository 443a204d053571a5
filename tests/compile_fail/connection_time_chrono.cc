// expect: a time is an absl::Duration, such as absl::Seconds(5); one of std::chrono becomes one by absl::FromChrono
#include <inferwire/client_options.h>

#include <chrono>

inferwire::ClientOptions options = {.connection = {.keepalive_time = std::chrono::seconds(30)}};
