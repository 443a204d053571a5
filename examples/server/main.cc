// SPDX-License-Identifier: Apache-2.0
//
// inferwire-server: the example inference server as a program. It runs until SIGTERM or SIGINT.

#include <signal.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "inferwire/version.h"
#include "server/server.h"

namespace {

constexpr int kFailed = 1;
constexpr int kMisused = 2;

// How long running calls may take once the server was asked to stop.
constexpr std::chrono::seconds kDrain(5);

// Bad options and files are the caller's to mend; an address that is taken may be free the next time.
int ExitCode(const absl::Status& status) { return absl::IsUnavailable(status) ? kFailed : kMisused; }

}  // namespace

int main(int argc, char** argv) {
  // Before any thread exists, so that all of them inherit the mask and only sigwait below sees the signals.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);

  // Our own message says it in one line; who wants gRPC's log as well sets this variable.
  setenv("GRPC_VERBOSITY", "NONE", 0);

  inferwire::examples::ServerOptions options;
  unsigned token_delay_ms = 0;
  CLI::App app(
      "Serves small real models over gRPC on one port: the Inferwire contract, the Open Inference Protocol, and those "
      "of "
      "vLLM, SGLang and Text Embeddings Inference.",
      "inferwire-server");
  app.set_version_flag("--version", "inferwire-server " INFERWIRE_VERSION);
  app.add_option("--listen", options.listen, "host:port, [v6]:port or unix:path; port 0: a free one")
      ->capture_default_str();
  app.add_option("--data", options.data_dir, "directory with digits/ and story/ (default: the source tree's)");
  app.add_option("--default-model", options.default_model, "answers requests that name no model")
      ->capture_default_str();
  app.add_option("--token-delay-ms", token_delay_ms, "time between a story's tokens")
      ->check(CLI::Range(0U, 60'000U))
      ->capture_default_str();
  app.add_option("--tls-certificate", options.certificate_file, "PEM file; without it the server speaks plaintext");
  app.add_option("--tls-key", options.private_key_file, "PEM file with the certificate's private key");
  app.add_option("--client-ca", options.client_ca_file, "PEM file; clients must show a certificate signed by it");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::cerr << "inferwire-server: " << error.what() << " (--help shows the options)\n";
    return kMisused;
  }
  options.token_delay = std::chrono::milliseconds(token_delay_ms);

  absl::StatusOr<std::unique_ptr<inferwire::examples::EmbeddedServer>> server =
      inferwire::examples::EmbeddedServer::Start(options);
  if (!server.ok()) {
    std::cerr << "inferwire-server: " << server.status().message() << "\n";
    return ExitCode(server.status());
  }
  std::cout << "inferwire-server: listening on " << (*server)->target() << std::endl;

  int signal = 0;
  sigwait(&stop, &signal);
  (*server)->Shutdown(kDrain);
  return 0;
}
