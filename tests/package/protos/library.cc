// SPDX-License-Identifier: Apache-2.0
#include "api/key.pb.h"
#include "inferwire/inference.pb.h"

bool Library() { return acme::key::Key().IsInitialized() && inference::Request().IsInitialized(); }
