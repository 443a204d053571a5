// SPDX-License-Identifier: Apache-2.0
//
// The compiled form: what one file of a program includes whose files are all compiled with
// INFERWIRE_SEPARATE_COMPILATION. With CMake, inferwire::compiled is that file and that definition.
#ifndef INFERWIRE_SRC_H_
#define INFERWIRE_SRC_H_

#if !defined(INFERWIRE_SEPARATE_COMPILATION)
#error "inferwire/src.h is for programs whose files are all compiled with INFERWIRE_SEPARATE_COMPILATION defined"
#endif

#include "inferwire/detail/impl/admin.h"
#include "inferwire/detail/impl/batcher.h"
#include "inferwire/detail/impl/bearer_token.h"
#include "inferwire/detail/impl/call_options.h"
#include "inferwire/detail/impl/client.h"
#include "inferwire/detail/impl/contracts.h"
#include "inferwire/detail/impl/credentials.h"
#include "inferwire/detail/impl/door.h"
#include "inferwire/detail/impl/embedding.h"
#include "inferwire/detail/impl/executor.h"
#include "inferwire/detail/impl/future.h"
#include "inferwire/detail/impl/generation.h"
#include "inferwire/detail/impl/inference.h"
#include "inferwire/detail/impl/model.h"
#include "inferwire/detail/impl/printable.h"
#include "inferwire/detail/impl/protobuf.h"
#include "inferwire/detail/impl/sequence.h"
#include "inferwire/detail/impl/status.h"

#endif  // INFERWIRE_SRC_H_
