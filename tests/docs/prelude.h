// SPDX-License-Identifier: Apache-2.0
//
// What the pages' snippets take for granted; see snippets.py.
#ifndef INFERWIRE_TESTS_DOCS_PRELUDE_H_
#define INFERWIRE_TESTS_DOCS_PRELUDE_H_

#include <inferwire/admin.h>
#include <inferwire/contract/open_inference.h>
#include <inferwire/contract/sglang.h>
#include <inferwire/contract/simple.h>
#include <inferwire/contract/tei.h>
#include <inferwire/contract/vllm.h>
#include <inferwire/contracts.h>
#include <inferwire/generation.h>
#include <inferwire/inferwire.h>
#include <inferwire/npy.h>
#include <inferwire/shared_memory.h>
#include <inferwire/testing/fake_clock.h>
#include <inferwire/testing/fake_server.h>

#include <array>
#include <cstdint>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "inferwire/inference.grpc.pb.h"

using Inference = inference::Inference::Stub;
using Server = absl::StatusOr<inferwire::InferenceClient<inferwire::OpenInference>>;

void Take(inferwire::ClientOptions options);
void Use(const inference::Response& response);
void Serve(const inferwire::Client& client);
absl::StatusOr<inferwire::AccessToken> FetchFromMyIssuer();

#endif  // INFERWIRE_TESTS_DOCS_PRELUDE_H_
