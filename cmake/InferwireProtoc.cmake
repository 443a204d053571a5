# SPDX-License-Identifier: Apache-2.0
#
# Runs protoc for one file, as a command of the build:
#
#   cmake -Dprotoc=... -Dplugin=... -Dout_dir=... -Dstem=... -P InferwireProtoc.cmake -- -I<dir>... <file>
#
# protoc tells what the file imports; its list has one path a line, with its spaces as they are, which make and ninja would take
# for ends.
cmake_policy(VERSION 3.25)

set(arguments "")
math(EXPR last "${CMAKE_ARGC} - 1")
set(begun FALSE)
foreach(i RANGE ${last})
  if(begun)
    list(APPEND arguments "${CMAKE_ARGV${i}}")
  elseif(CMAKE_ARGV${i} STREQUAL "--")
    set(begun TRUE)
  endif()
endforeach()

set(list "${out_dir}/${stem}.imports")
cmake_path(GET list PARENT_PATH list_dir)
file(MAKE_DIRECTORY "${list_dir}")
execute_process(
  COMMAND "${protoc}" ${arguments} "--cpp_out=${out_dir}" "--grpc_out=${out_dir}" "--plugin=protoc-gen-grpc=${plugin}"
    "--dependency_out=${list}"
  RESULT_VARIABLE failed
  ERROR_VARIABLE told)
if(told)
  message("${told}")
endif()
if(failed)
  if(told MATCHES "File not found")
    message("inferwire_add_protos: name the directory of what is imported in IMPORT_DIRS, or its target in DEPENDS")
  endif()
  message(FATAL_ERROR "protoc failed: ${failed}")
endif()

file(READ "${list}" text)
string(REGEX REPLACE "^(.*):[ \t]+" "" text "${text}")  # what was made
string(REGEX REPLACE "[ \t]*\\\\\r?\n[ \t]*" "\n" text "${text}")
string(STRIP "${text}" text)
string(REPLACE " " "\\ " text "${text}")
string(REPLACE "\n" " \\\n  " text "${text}")
string(REPLACE " " "\\ " made "${out_dir}/${stem}.pb.cc")
file(WRITE "${out_dir}/${stem}.d" "${made}: ${text}\n")
