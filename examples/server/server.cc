// SPDX-License-Identifier: Apache-2.0
#include "server/server.h"

#include <absl/status/status.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include <initializer_list>
#include <mutex>
#include <string_view>
#include <utility>

#include "server/embedding_service.h"
#include "server/file.h"
#include "server/language_service.h"
#include "server/models.h"
#include "server/open_inference_service.h"
#include "server/running.h"
#include "server/sglang_service.h"
#include "server/simple_service.h"
#include "server/text.h"

namespace inferwire::examples {
namespace {

// Tensors are large; gRPC's own limit of 4 MiB is meant for small messages.
constexpr int kMaxReceiveBytes = 1 << 30;

constexpr std::string_view kUnix = "unix:";

struct Address {
  std::string host;  // empty for a Unix socket
};

absl::StatusOr<Address> ParseListen(const std::string& listen) {
  const auto bad = [&] {
    return absl::InvalidArgumentError(absl::StrCat("cannot listen on ", Quote(listen),
                                                   ": expected host:port, [v6]:port or unix:path, port 0 to 65535"));
  };
  if (std::string_view(listen).starts_with(kUnix)) {
    if (listen.size() == kUnix.size()) return bad();
    return Address{};
  }
  const std::size_t colon = listen.rfind(':');
  if (colon == std::string::npos || colon == 0) return bad();
  const std::string host = listen.substr(0, colon);
  const std::string port = listen.substr(colon + 1);
  const bool bracketed = host.front() == '[' && host.back() == ']' && host.size() > 2;
  int number = 0;
  if (!bracketed && host.find_first_of(":[]/ ") != std::string::npos) return bad();
  if (port.empty() || port.find_first_not_of("0123456789") != std::string::npos) return bad();
  if (!absl::SimpleAtoi(port, &number) || number > 65535) return bad();
  return Address{host};
}

// A host to connect to for one that stands for all of a machine's addresses.
std::string Reachable(const std::string& host) {
  if (host == "0.0.0.0") return "127.0.0.1";
  if (host == "[::]") return "[::1]";
  return host;
}

absl::StatusOr<std::string> ReadPem(const std::string& path, std::string_view expected) {
  absl::StatusOr<std::string> pem = ReadFile(path);
  if (!pem.ok()) return pem;
  // gRPC tells no more than that it could not listen, so look here for what is no PEM at all.
  if (pem->find("-----BEGIN ") != std::string::npos && pem->find(expected) != std::string::npos) return pem;
  return absl::InvalidArgumentError(
      absl::StrCat("the file ", Quote(path), ": expected PEM with ", Quote(expected), " in it"));
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(const ServerOptions& options) {
  if (options.certificate_file.empty() != options.private_key_file.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("expected a certificate and its private key, but only the ",
                                                   options.certificate_file.empty() ? "private key" : "certificate",
                                                   " was given"));
  }
  if (options.certificate_file.empty()) {
    if (options.client_ca_file.empty()) return grpc::InsecureServerCredentials();
    return absl::InvalidArgumentError("a client CA needs a server certificate and its private key, none were given");
  }
  absl::StatusOr<std::string> certificate = ReadPem(options.certificate_file, "CERTIFICATE-----");
  if (!certificate.ok()) return certificate.status();
  absl::StatusOr<std::string> key = ReadPem(options.private_key_file, "PRIVATE KEY-----");
  if (!key.ok()) return key.status();
  grpc::SslServerCredentialsOptions tls;
  tls.pem_key_cert_pairs.push_back({*std::move(key), *std::move(certificate)});
  if (!options.client_ca_file.empty()) {
    absl::StatusOr<std::string> ca = ReadPem(options.client_ca_file, "CERTIFICATE-----");
    if (!ca.ok()) return ca.status();
    tls.pem_root_certs = *std::move(ca);
    tls.client_certificate_request = GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  }
  return grpc::SslServerCredentials(tls);
}

// gRPC's health service is switched on for the whole process; other servers in it keep what they had.
std::unique_ptr<grpc::Server> BuildWithHealth(grpc::ServerBuilder& builder) {
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  const bool before = grpc::DefaultHealthCheckServiceEnabled();
  grpc::EnableDefaultHealthCheckService(true);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  grpc::EnableDefaultHealthCheckService(before);
  return server;
}

}  // namespace

struct EmbeddedServer::State {
  State(std::unique_ptr<ModelSet> set, const ServerOptions& options)
      : models(std::move(set)),
        simple(*models, options.default_model, options.token_delay),
        open_inference(*models, options.token_delay),
        language(models->storyteller(), running, options.token_delay),
        language_control(running),
        sglang(models->storyteller(), running, options.token_delay) {}

  std::unique_ptr<ModelSet> models;
  SimpleService simple;
  OpenInferenceService open_inference;
  Running running;
  LanguageService language;
  LanguageControlService language_control;
  SglangService sglang;
  EmbeddingInfoService embedding_info;
  EmbeddingService embedding;
  RerankService rerank;
  TokenizeService tokenize;
  std::string target;
  int port = 0;
  std::mutex shutdown;  // gRPC takes one Shutdown only
  bool down = false;
  std::unique_ptr<grpc::Server> server;
};

EmbeddedServer::EmbeddedServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

EmbeddedServer::~EmbeddedServer() { Shutdown(std::chrono::milliseconds(0)); }

const std::string& EmbeddedServer::target() const { return state_->target; }

int EmbeddedServer::port() const { return state_->port; }

absl::StatusOr<std::unique_ptr<EmbeddedServer>> EmbeddedServer::Start(const ServerOptions& options) {
  absl::StatusOr<Address> address = ParseListen(options.listen);
  if (!address.ok()) return address.status();
  if (options.token_delay < options.token_delay.zero()) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected a token delay of 0 ms or more, found ", options.token_delay.count(), " ms"));
  }
  absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials = MakeCredentials(options);
  if (!credentials.ok()) return credentials.status();
  absl::StatusOr<std::unique_ptr<ModelSet>> models = ModelSet::Load(options.data_dir);
  if (!models.ok()) return models.status();
  if (absl::Status known = (*models)->Find(options.default_model).status(); !known.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("default model: ", std::string(known.message())));
  }

  auto state = std::make_unique<State>(*std::move(models), options);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.listen, *credentials, &port);
  // Sharing a port with another process would hide that the address is taken.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  builder.SetMaxSendMessageSize(-1);
  for (grpc::Service* const service : std::initializer_list<grpc::Service*>{
           &state->simple, &state->open_inference, &state->language, &state->language_control, &state->sglang,
           &state->embedding_info, &state->embedding, &state->rerank, &state->tokenize}) {
    builder.RegisterService(service);
  }
  state->server = BuildWithHealth(builder);
  if (state->server == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen on ", Quote(options.listen), ": expected a free address of this machine",
        options.certificate_file.empty() ? "" : ", and a certificate with the private key that belongs to it"));
  }
  if (address->host.empty()) {
    state->target = options.listen;
  } else {
    state->port = port;
    state->target = absl::StrCat(Reachable(address->host), ":", port);
  }
  return std::unique_ptr<EmbeddedServer>(new EmbeddedServer(std::move(state)));
}

void EmbeddedServer::Shutdown(std::chrono::milliseconds drain) {
  std::lock_guard<std::mutex> lock(state_->shutdown);
  if (std::exchange(state_->down, true)) return;
  if (auto* health = state_->server->GetHealthCheckService()) health->SetServingStatus(false);
  state_->server->Shutdown(std::chrono::system_clock::now() + drain);
}

}  // namespace inferwire::examples
