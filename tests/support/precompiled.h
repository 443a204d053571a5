// SPDX-License-Identifier: Apache-2.0
//
// What nearly every test includes and is slow to parse.
#include <grpcpp/grpcpp.h>

#include <string>
#include <vector>

#include "support/catch.h"
