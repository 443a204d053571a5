// SPDX-License-Identifier: Apache-2.0
//
// Files of certificates and keys that are written half, or are something else: it fails closed, and says why. The
// certificates are those of the directory INFERWIRE_CERTIFICATES.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/certificates.h"
#include "support/eventually.h"
#include "support/inference.h"

using inferwire::Client;
using inferwire::ClientOptions;
using namespace inferwire_test;  // NOLINT

namespace {

absl::Status Create(const Folder& folder, absl::Duration reload = absl::Minutes(1)) {
  return Client::Create({.targets = {"localhost:1"},
                         .credentials = inferwire::Tls({.root_certificates_file = folder / "ca.pem",
                                                        .certificate_chain_file = folder / "client.pem",
                                                        .private_key_file = folder / "client.key",
                                                        .reload_interval = reload})})
      .status();
}

void PutAll(const Folder& folder) {
  for (const char* const name : {"ca.pem", "client.pem", "client.key"}) {
    std::filesystem::remove_all(folder / name);
    folder.Put(name, ContentsOf(Certificate(name)));
  }
}

// Serves calls, and whoever asks whether it can.
void Serve(RawCall& call) {
  if (call.method().starts_with("/grpc.health.v1.Health/")) {
    call.Read();
    call.Write("\x08\x01");
    return call.WaitForCancel();
  }
  Echo(call);
}

}  // namespace

TEST_CASE("no client is made from a file that is not whole, and no word of it is said",
          "[hostile][certificate_files]") {
  const Folder folder;
  PutAll(folder);
  REQUIRE(Create(folder).ok());
  const struct {
    const char *file, *field;
  } files[] = {{"ca.pem", "root_certificates_file"},
               {"client.pem", "certificate_chain_file"},
               {"client.key", "private_key_file"}};
  for (const auto& [file, field] : files) {
    PutAll(folder);
    const std::string whole = ContentsOf(folder / file);
    const std::size_t size = whole.size();
    const std::size_t last_line = whole.rfind("-----END");
    std::vector<std::pair<std::string, std::string>> broken = {
        {"empty", ""},
        {"one byte", whole.substr(0, 1)},
        {"a part of its first line", whole.substr(0, 12)},
        {"its first line", whole.substr(0, whole.find('\n') + 1)},
        {"a third", whole.substr(0, size / 3)},
        {"half", whole.substr(0, size / 2)},
        {"all but the last line", whole.substr(0, last_line)},
        {"a part of the last line", whole.substr(0, last_line + 12)},
        {"two, the second one cut off", whole + whole.substr(0, size / 2)},
        {"zeros", std::string(size, '\0')},
        {"zeros behind the first half", whole.substr(0, size / 2) + std::string(size - size / 2, '\0')},
        {"what is no base64", whole.substr(0, size / 2) + "\x1b[31m!" + whole.substr(size / 2)},
        {"a page", "<html><body>502 Bad Gateway</body></html>\n"},
        {"another kind", ContentsOf(Certificate(std::string(file) == "client.key" ? "client.pem" : "client.key"))},
    };
    for (const auto& [what, contents] : broken) {
      CAPTURE(file, what);
      folder.Put(file, contents);
      const absl::Status status = Create(folder);
      CHECK((status.code() == absl::StatusCode::kInvalidArgument || status.code() == absl::StatusCode::kNotFound));
      CHECK(Contains(status, std::string(field) + " '" + folder / file + "'"));
      CHECK(std::string(status.message()).find(whole.substr(size / 4, 16)) == std::string::npos);
    }
    // What is no file, or too much of one.
    std::filesystem::remove(folder / file);
    CHECK(Contains(Create(folder), "No such file"));
    std::filesystem::create_directory(folder / file);
    CHECK(Contains(Create(folder), "a directory, a device or a pipe"));
    std::filesystem::remove_all(folder / file);
    std::filesystem::create_symlink("/dev/zero", folder / file);
    CHECK(Contains(Create(folder), "a directory, a device or a pipe"));
    std::filesystem::remove_all(folder / file);
    folder.Put(file, whole);
    if (::geteuid() != 0) {
      ::chmod((folder / file).c_str(), 0);
      CHECK(Contains(Create(folder), "Permission denied"));
    }
  }
  PutAll(folder);
  folder.Put("client.key", ContentsOf(Certificate("server.key")));
  CHECK(Contains(Create(folder), "is not the key of certificate_chain_file"));
  PutAll(folder);
  CHECK(Create(folder).ok());
}

TEST_CASE("roots that are broken under a running client fail closed, and everything says why until they are whole",
          "[hostile][certificate_files]") {
  const Folder folder;
  PutAll(folder);
  const auto server =
      TlsServer(ContentsOf(Certificate("server.pem")), ContentsOf(Certificate("server.key")), Serve, /*ask=*/true);
  // Signed by nobody that is trusted, whatever the file holds meanwhile.
  const auto stranger = TlsServer(ContentsOf(Certificate("other-client.pem")),
                                  ContentsOf(Certificate("other-client.key")), Echo, /*ask=*/true);
  ClientOptions options;
  options.targets = {server->target()};
  options.credentials = inferwire::Tls({.root_certificates_file = folder / "ca.pem",
                                        .certificate_chain_file = folder / "client.pem",
                                        .private_key_file = folder / "client.key",
                                        .reload_interval = absl::Seconds(1)});
  options.timeout = absl::Seconds(5);
  options.retry.max_attempts = 1;
  options.connection.max_age = absl::Milliseconds(100);
  options.connection.max_reconnect_backoff = absl::Milliseconds(100);
  ClientOptions watching = options, wrong = options;
  watching.health.check_service = "";
  watching.health.interval = absl::Milliseconds(200);
  wrong.targets = {stranger->target()};
  const Client client = *Client::Create(options), watcher = *Client::Create(watching),
               deceived = *Client::Create(wrong);
  const auto call = [](const Client& one) { return one.Call<&Inference::RunInference>(Text("x")).status(); };
  const auto why = [](const Client& one) { return one.Stats().targets[0].connect_error; };
  REQUIRE(call(client).ok());
  CHECK(why(client).empty());
  CHECK_FALSE(call(deceived).ok());
  CHECK(why(deceived).find("certificate verify failed") != std::string::npos);

  const std::string whole = ContentsOf(folder / "ca.pem");
  for (const std::string& broken : {whole.substr(0, whole.size() / 2), std::string("-----BEGIN CERTIFICATE-----\n")}) {
    CAPTURE(broken.size());
    folder.Put("ca.pem", broken);
    absl::Status status;
    CHECK(Eventually([&] { return !(status = call(client)).ok(); }));
    CHECK(status.code() == absl::StatusCode::kUnavailable);
    const std::string reason = "root_certificates_file '" + folder / "ca.pem" + "' is damaged";
    CHECK(Contains(status, reason));
    CHECK(why(client).find(reason) != std::string::npos);
    CHECK(Contains(client.WaitUntilReady(absl::Milliseconds(300)), reason));
    CHECK_FALSE(call(deceived).ok());
    CHECK(Eventually([&] { return !watcher.Stats().targets[0].healthy; }));
    CHECK(why(watcher).find(reason) != std::string::npos);
    folder.Put("ca.pem", whole);
    CHECK(Eventually([&] { return call(client).ok(); }));
    CHECK(why(client).empty());
    CHECK(Eventually([&] { return watcher.Stats().targets[0].healthy; }));
    CHECK_FALSE(call(deceived).ok());
  }
}

TEST_CASE("a key that is broken under a running client leaves the pair that was there",
          "[hostile][certificate_files]") {
  const Folder folder;
  PutAll(folder);
  const auto server =
      TlsServer(ContentsOf(Certificate("server.pem")), ContentsOf(Certificate("server.key")), Serve, /*ask=*/true);
  const Client client = *Client::Create({.targets = {server->target()},
                                         .credentials = inferwire::Tls({.root_certificates_file = folder / "ca.pem",
                                                                        .certificate_chain_file = folder / "client.pem",
                                                                        .private_key_file = folder / "client.key",
                                                                        .reload_interval = absl::Seconds(1)}),
                                         .connection = {.max_age = absl::Milliseconds(100)}});
  const auto call = [&] { return client.Call<&Inference::RunInference>(Text("x")).status(); };
  REQUIRE(call().ok());
  const std::string whole = ContentsOf(folder / "client.key");
  for (const std::string& broken :
       {std::string(), whole.substr(0, whole.size() / 2), ContentsOf(Certificate("server.key"))}) {
    folder.Put("client.key", broken);
    // For longer than it takes to look twice.
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(2500);
    while (std::chrono::steady_clock::now() < until) {
      const absl::Status status = call();
      INFO(status);
      CHECK(status.ok());
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    folder.Put("client.key", whole);
  }
  CHECK(Eventually([&] { return call().ok(); }));
}
