// SPDX-License-Identifier: Apache-2.0
//
// The front door: everything but the contracts, which need generated code and are included one by one.
#ifndef INFERWIRE_INFERWIRE_H_
#define INFERWIRE_INFERWIRE_H_

#include "inferwire/client.h"     // IWYU pragma: export
#include "inferwire/executor.h"   // IWYU pragma: export
#include "inferwire/future.h"     // IWYU pragma: export
#include "inferwire/inference.h"  // IWYU pragma: export
#include "inferwire/rpc.h"        // IWYU pragma: export
#include "inferwire/start.h"      // IWYU pragma: export
#include "inferwire/status.h"     // IWYU pragma: export
#include "inferwire/task.h"       // IWYU pragma: export
#include "inferwire/tensor.h"     // IWYU pragma: export
#include "inferwire/version.h"    // IWYU pragma: export

#endif  // INFERWIRE_INFERWIRE_H_
