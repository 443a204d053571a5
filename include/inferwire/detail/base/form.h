// SPDX-License-Identifier: Apache-2.0
//
// The two forms of the library: header-only, or compiled once, into a library of the user's build, where
// INFERWIRE_SEPARATE_COMPILATION is defined for all files of a program.
#ifndef INFERWIRE_DETAIL_BASE_FORM_H_
#define INFERWIRE_DETAIL_BASE_FORM_H_

#if defined(INFERWIRE_SEPARATE_COMPILATION)
#define INFERWIRE_DECL
#else
#define INFERWIRE_DECL inline
#endif

// A program is of one form. Files of both do not link, since a name of theirs is that of a variable of each thread in
// the one form, and of the program in the other.
#if defined(__ELF__) && defined(__GNUC__)
extern "C" {
#if defined(INFERWIRE_SEPARATE_COMPILATION)
[[gnu::used]] inline thread_local char inferwire_is_header_only_in_one_file_and_compiled_in_another = 0;
#else
[[gnu::used]] inline char inferwire_is_header_only_in_one_file_and_compiled_in_another = 0;
#endif
}
#endif

#endif  // INFERWIRE_DETAIL_BASE_FORM_H_
