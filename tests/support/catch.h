// SPDX-License-Identifier: Apache-2.0
//
// Catch2, of version 2 or 3.
#ifndef INFERWIRE_TESTS_SUPPORT_CATCH_H_
#define INFERWIRE_TESTS_SUPPORT_CATCH_H_

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;  // as in version 2
#else
#include <catch2/catch.hpp>
#endif

#endif  // INFERWIRE_TESTS_SUPPORT_CATCH_H_
