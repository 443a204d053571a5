// SPDX-License-Identifier: Apache-2.0
//
// The example inference server: real models behind real gRPC, in this process or as a program of its own.
#ifndef INFERWIRE_EXAMPLES_SERVER_SERVER_H_
#define INFERWIRE_EXAMPLES_SERVER_SERVER_H_

#include <absl/status/statusor.h>

#include <chrono>
#include <memory>
#include <string>

namespace inferwire::examples {

struct ServerOptions {
  std::string listen = "127.0.0.1:0";        // host:port, [v6]:port or unix:path; port 0: the system chooses a free one
  std::string data_dir = "";                 // where the models' files are; empty: where they were when this was built
  std::string default_model = "identity";    // answers a request that names no model
  std::chrono::milliseconds token_delay{0};  // a story's tokens are this far apart: for watching, and for testing
  // PEM files; without a certificate the server speaks plaintext. With a client CA it asks clients for certificates.
  std::string certificate_file = "";
  std::string private_key_file = "";
  std::string client_ca_file = "";
};

/// Serves inference.Inference, the Open Inference Protocol, vllm.Inference, sglang.runtime.v1, tei.v1 and
/// grpc.health.v1 on one port, concurrently.
class EmbeddedServer {
 public:
  /// Returns once the port is open. INVALID_ARGUMENT for an option that cannot be meant, NOT_FOUND for a missing file,
  /// DATA_LOSS for a broken one, UNAVAILABLE when the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<EmbeddedServer>> Start(const ServerOptions& options);

  EmbeddedServer(const EmbeddedServer&) = delete;
  EmbeddedServer& operator=(const EmbeddedServer&) = delete;

  /// Shuts down at once: what is running is cancelled.
  ~EmbeddedServer();

  /// Where a client on this machine finds it.
  const std::string& target() const;

  /// The port it listens on; 0 for a Unix socket.
  int port() const;

  /// Takes no new calls, lets the running ones end for as long as `drain`, cancels the rest and waits for them.
  /// Any thread, any number of times.
  void Shutdown(std::chrono::milliseconds drain);

 private:
  struct State;

  explicit EmbeddedServer(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace inferwire::examples

#endif  // INFERWIRE_EXAMPLES_SERVER_SERVER_H_
