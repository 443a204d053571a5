// SPDX-License-Identifier: Apache-2.0
//
// Tritons that do not let everyone in: protocols that want a header, and TLS that wants a client's certificate.
#include <string>
#include <utility>

#include "inferwire/admin.h"
#include "support/inference.h"
#include "support/interop.h"

using namespace inferwire;       // NOLINT
using namespace inferwire_test;  // NOLINT

TEST_CASE("Triton's restricted protocols are open to those who send the key", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON_RESTRICTED");
  if (!target) return;
  const auto stranger = ConnectTo(*target);
  CHECK(Answered(stranger.Live()));
  CHECK(Answered(stranger.GetModel("add_sub").Metadata()).inputs.size() == 2);
  const absl::Status refused = stranger.GetModel("add_sub").Infer(AddSub()).status();
  CHECK(refused.code() == absl::StatusCode::kUnavailable);
  CHECK(Contains(refused, "triton-grpc-protocol-infer"));
  const absl::Status wrong = stranger.GetModel("add_sub")
                                 .Infer(AddSub(), {.metadata = {OpenInference::RestrictedProtocol("infer", "guess")}})
                                 .status();
  CHECK(wrong.code() == absl::StatusCode::kUnavailable);
  const absl::Status index = Admin(stranger).RepositoryIndex().status();
  CHECK(index.code() == absl::StatusCode::kUnavailable);
  auto closed = stranger.GetModel("add_sub").StreamInfer(AddSub());
  CHECK_FALSE(closed.Read().has_value());
  CHECK(closed.status().code() == absl::StatusCode::kUnavailable);

  // By the call, or by the client.
  CHECK(IsSum(stranger.GetModel("add_sub").Infer(
      AddSub(), {.metadata = {OpenInference::RestrictedProtocol("infer", "letmein")}})));
  auto own = stranger.GetModel("add_sub").StreamInfer(
      AddSub(), {.metadata = {OpenInference::RestrictedProtocol("infer", "letmein")}});
  CHECK(own.Read().has_value());
  const auto friendly = ConnectTo({*target}, {.metadata = {OpenInference::RestrictedProtocol("infer", "letmein"),
                                                           OpenInference::RestrictedProtocol("admin", "secret")}});
  CHECK(IsSum(friendly.GetModel("add_sub").Infer(AddSub())));
  CHECK(IsSum(friendly.GetModel("add_sub", {.over_stream = true}).Infer(AddSub())));
  auto sequence = friendly.GetModel("simple_sequence").Sequence(77);
  CheckOk(sequence.End({{"INPUT", std::vector<std::int32_t>{1}, {1, 1}}}).status());
  CHECK(Answered(Admin(friendly).RepositoryIndex()).size() >= 4);
}

TEST_CASE("Triton lets in those whose certificate it knows, and is known by its own", "[.][interop][triton]") {
  const auto target = Told("INFERWIRE_TRITON_MTLS");
  const auto certificates = Told("INFERWIRE_TRITON_MTLS_CERTIFICATES");
  if (!target || !certificates) return;
  const std::string ca = *certificates + "/ca.pem";
  const auto server = ConnectTo({*target}, {},
                                Tls({.root_certificates_file = ca,
                                     .certificate_chain_file = *certificates + "/client.pem",
                                     .private_key_file = *certificates + "/client.key"}));
  CHECK(IsSum(server.GetModel("add_sub").Infer(AddSub())));
  CHECK(IsSum(server.GetModel("add_sub", {.over_stream = true}).Infer(AddSub())));

  const auto refusal = [&](Credentials credentials) {
    return ConnectTo({*target}, {}, std::move(credentials)).Live({.timeout = absl::Seconds(20)}).status();
  };
  const absl::Status nameless = refusal(Tls({.root_certificates_file = ca}));
  INFO(nameless);
  CHECK(nameless.code() == absl::StatusCode::kUnavailable);
  const absl::Status plain = refusal(Insecure());
  INFO(plain);
  CHECK(plain.code() == absl::StatusCode::kUnavailable);
  // To one who does not know the server's authority it is a stranger.
  const absl::Status stranger = refusal(Tls());
  INFO(stranger);
  CHECK(stranger.code() == absl::StatusCode::kUnavailable);
}
