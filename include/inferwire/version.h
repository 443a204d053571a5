// SPDX-License-Identifier: Apache-2.0
//
// The one place where the version is written; the build reads it from here.
#ifndef INFERWIRE_VERSION_H_
#define INFERWIRE_VERSION_H_

#define INFERWIRE_VERSION_MAJOR 0
#define INFERWIRE_VERSION_MINOR 1
#define INFERWIRE_VERSION_PATCH 0
#define INFERWIRE_VERSION "0.1.0"

#endif  // INFERWIRE_VERSION_H_
