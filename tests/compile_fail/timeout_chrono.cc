// expect: a time is an absl::Duration, such as absl::Seconds(5)
#include <inferwire/client.h>

inferwire::CallOptions Options() { return {.idle_timeout = std::chrono::seconds(5)}; }
