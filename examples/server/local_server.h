// SPDX-License-Identifier: Apache-2.0
//
// For the examples: the target named on the command line, or an embedded server of their own.
#ifndef INFERWIRE_EXAMPLES_SERVER_LOCAL_SERVER_H_
#define INFERWIRE_EXAMPLES_SERVER_LOCAL_SERVER_H_

#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>

#include "server/server.h"

namespace inferwire::examples {

/// `program [TARGET]`: calls the server at TARGET, or one that runs in this process. Ends the program with 0 for
/// --help, 2 for arguments that make no sense, 1 if the server cannot start.
class LocalServer {
 public:
  LocalServer(int argc, char** argv) {
    const std::string_view argument = argc > 1 ? argv[1] : "";
    if (argument == "--help" || argument == "-h") {
      std::cout << "usage: " << argv[0] << " [TARGET]\n\nCalls the server at TARGET (host:port), or one of its own.\n";
      std::exit(0);
    }
    if (argc > 2 || argument.starts_with("-")) {
      std::cerr << argv[0] << ": unexpected '" << argv[argc > 2 ? 2 : 1] << "'; expected at most a target, host:port\n";
      std::exit(2);
    }
    if (argc > 1) {
      target_ = argument;
      return;
    }
    auto server = EmbeddedServer::Start({});
    if (!server.ok()) {
      std::cerr << argv[0] << ": " << server.status() << "\n";
      std::exit(1);
    }
    server_ = *std::move(server);
    target_ = server_->target();
  }

  const std::string& target() const { return target_; }

 private:
  std::unique_ptr<EmbeddedServer> server_;
  std::string target_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_LOCAL_SERVER_H_
