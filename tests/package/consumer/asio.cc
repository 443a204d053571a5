// SPDX-License-Identifier: Apache-2.0
//
// Built where the component asio is.
#include <inferwire/asio.h>

#include <memory>

std::shared_ptr<inferwire::Executor> InLoop(const inferwire::net::any_io_executor& executor) {
  return std::make_shared<inferwire::AsioExecutor>(executor);
}
