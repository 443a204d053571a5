// SPDX-License-Identifier: Apache-2.0
#if __has_include(<boost/asio.hpp>)

#include "inferwire/asio.h"

#include <boost/asio.hpp>

namespace {
namespace net = boost::asio;
}  // namespace
#define ASIO_NAME "Boost.Asio"

#include "support/asio_cases.h"

#endif
