// SPDX-License-Identifier: Apache-2.0
//
// The entry point where Catch2, of version 2, has no library that brings one.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
