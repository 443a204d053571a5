// expect: a time is an absl::Duration, such as absl::Seconds(5)
#include <inferwire/detail/policy/retry.h>

inferwire::RetryPolicy policy = {.initial_backoff = 5};
