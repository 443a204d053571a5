# SPDX-License-Identifier: Apache-2.0
#
# inferwire_add_protos: messages and gRPC stubs from .proto files, by the protoc and plugin of whoever builds.

# Functions keep the policies under which they were defined, whatever the application's are.
cmake_policy(VERSION 3.25)
# It is called from other directories too, which do not see this one's variables.
set_property(GLOBAL PROPERTY inferwire_protoc_script "${CMAKE_CURRENT_LIST_DIR}/InferwireProtoc.cmake")

set(INFERWIRE_PROTOS_TYPE "" CACHE STRING
  "STATIC or SHARED: the libraries of inferwire_add_protos and of the components; empty: as BUILD_SHARED_LIBS says")
set_property(CACHE INFERWIRE_PROTOS_TYPE PROPERTY STRINGS "" STATIC SHARED)

# Programs that run on the machine that builds, which is not always the one that is built for.
function(_inferwire_program out variable target name)
  set(${variable} "" CACHE FILEPATH "The ${name} that inferwire_add_protos runs; empty: found")
  if(${variable})
    set(program "${${variable}}")
  elseif(TARGET ${target} AND NOT CMAKE_CROSSCOMPILING)
    set(program "$<TARGET_FILE:${target}>")
  elseif(TARGET ${name} AND NOT CMAKE_CROSSCOMPILING)
    set(program "$<TARGET_FILE:${name}>")  # of a gRPC or protobuf built in the same project
  else()
    find_program(_${variable}_FOUND ${name} NO_CMAKE_FIND_ROOT_PATH)
    if(NOT _${variable}_FOUND)
      message(FATAL_ERROR "inferwire_add_protos: ${name} was not found; install it or set ${variable}")
    endif()
    set(program "${_${variable}_FOUND}")
  endif()
  set(${out} "${program}" PARENT_SCOPE)
endfunction()

# inferwire_add_protos(<target> [STATIC|SHARED] PROTOS <file>... [IMPORT_DIRS <dir>...] [DEPENDS <target>...])
#
# A library of the messages and gRPC stubs of the given files. Paths are relative to the current source directory, and so
# are the names under which the files are imported and their headers included, unless IMPORT_DIRS says otherwise. DEPENDS
# names other targets of this function whose protos are imported. To be called any number of times. Without STATIC or SHARED
# it is what INFERWIRE_PROTOS_TYPE says, else BUILD_SHARED_LIBS.
function(inferwire_add_protos target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "STATIC;SHARED" "" "PROTOS;IMPORT_DIRS;DEPENDS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "inferwire_add_protos(${target}): unexpected '${arg_UNPARSED_ARGUMENTS}'; "
      "expected STATIC, SHARED, PROTOS, IMPORT_DIRS or DEPENDS")
  endif()
  if(NOT arg_PROTOS)
    message(FATAL_ERROR "inferwire_add_protos(${target}): expected PROTOS with at least one .proto file")
  endif()
  set(type "${INFERWIRE_PROTOS_TYPE}")
  if(arg_STATIC AND arg_SHARED)
    message(FATAL_ERROR "inferwire_add_protos(${target}): expected STATIC or SHARED, not both")
  elseif(arg_STATIC)
    set(type STATIC)
  elseif(arg_SHARED)
    set(type SHARED)
  endif()
  if(TARGET ${target})
    message(FATAL_ERROR "inferwire_add_protos(${target}): a target of this name exists already")
  endif()

  set(own_dirs "")
  foreach(dir IN LISTS arg_IMPORT_DIRS)
    cmake_path(ABSOLUTE_PATH dir BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE)
    string(REGEX REPLACE "(.)/$" "\\1" dir "${dir}")
    if(NOT IS_DIRECTORY "${dir}")
      message(FATAL_ERROR "inferwire_add_protos(${target}): the import directory ${dir} does not exist")
    endif()
    list(APPEND own_dirs "${dir}")
  endforeach()
  if(NOT own_dirs)
    set(own_dirs "${CMAKE_CURRENT_SOURCE_DIR}")
  endif()

  set(import_dirs "${own_dirs}")
  foreach(dependency IN LISTS arg_DEPENDS)
    if(NOT TARGET ${dependency})
      message(FATAL_ERROR "inferwire_add_protos(${target}): DEPENDS names '${dependency}', which is no target")
    endif()
    get_target_property(dirs ${dependency} INFERWIRE_IMPORT_DIRS)
    if(NOT dirs)
      message(FATAL_ERROR "inferwire_add_protos(${target}): DEPENDS names '${dependency}', which was not made by this function")
    endif()
    list(APPEND import_dirs ${dirs})
  endforeach()
  list(REMOVE_DUPLICATES import_dirs)
  list(TRANSFORM import_dirs PREPEND "-I" OUTPUT_VARIABLE include_flags)

  _inferwire_program(protoc INFERWIRE_PROTOC protobuf::protoc protoc)
  _inferwire_program(plugin INFERWIRE_GRPC_CPP_PLUGIN gRPC::grpc_cpp_plugin grpc_cpp_plugin)

  set(out_dir "${CMAKE_CURRENT_BINARY_DIR}/${target}.protos")
  file(MAKE_DIRECTORY "${out_dir}")
  get_property(protoc_script GLOBAL PROPERTY inferwire_protoc_script)
  set(sources "")
  list(REMOVE_DUPLICATES arg_PROTOS)
  foreach(proto IN LISTS arg_PROTOS)
    cmake_path(ABSOLUTE_PATH proto BASE_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" NORMALIZE)
    if(NOT EXISTS "${proto}")
      message(FATAL_ERROR "inferwire_add_protos(${target}): the file ${proto} does not exist; "
        "PROTOS are relative to the current directory, also where IMPORT_DIRS are given")
    endif()
    unset(name)
    foreach(dir IN LISTS own_dirs)
      cmake_path(IS_PREFIX dir "${proto}" inside)
      if(inside AND NOT DEFINED name)
        cmake_path(RELATIVE_PATH proto BASE_DIRECTORY "${dir}" OUTPUT_VARIABLE name)
      endif()
    endforeach()
    if(NOT DEFINED name)
      list(JOIN own_dirs ", " dirs)
      message(FATAL_ERROR "inferwire_add_protos(${target}): ${proto} lies outside of ${dirs}; name its root in IMPORT_DIRS")
    endif()
    # protoc takes off these endings, and leaves others.
    string(REGEX REPLACE "\\.(proto|protodevel)$" "" stem "${name}")
    set(outputs "${out_dir}/${stem}.pb.cc" "${out_dir}/${stem}.pb.h" "${out_dir}/${stem}.grpc.pb.cc" "${out_dir}/${stem}.grpc.pb.h")
    # What is imported, directly or not, protoc writes into the depfile.
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND "${CMAKE_COMMAND}" "-Dprotoc=${protoc}" "-Dplugin=${plugin}" "-Dout_dir=${out_dir}" "-Dstem=${stem}"
        -P "${protoc_script}" -- ${include_flags} "${proto}"
      DEPENDS "${proto}" "${protoc_script}"
      DEPFILE "${out_dir}/${stem}.d"
      COMMENT "Generating ${stem}.pb and ${stem}.grpc.pb"
      VERBATIM)
    list(APPEND sources ${outputs})
  endforeach()

  add_library(${target} ${type} ${sources})
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON
    INFERWIRE_IMPORT_DIRS "${import_dirs}"
    INFERWIRE_GENERATED_DIR "${out_dir}"
    CXX_CLANG_TIDY ""
    UNITY_BUILD OFF)  # generated files define the same names
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "SHARED_LIBRARY")
    # Generated code marks nothing for export, whatever the project's presets hide.
    set_target_properties(${target} PROPERTIES
      CXX_VISIBILITY_PRESET default
      VISIBILITY_INLINES_HIDDEN OFF
      WINDOWS_EXPORT_ALL_SYMBOLS ON)
  endif()
  # Generated code answers to other rules than the project that it is generated in.
  target_compile_options(${target} PRIVATE "$<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-w>" "$<$<CXX_COMPILER_ID:MSVC>:/W0>")
  target_include_directories(${target} SYSTEM PUBLIC "$<BUILD_INTERFACE:${out_dir}>")
  target_compile_features(${target} PUBLIC cxx_std_17)
  if(TARGET gRPC::grpc++)
    target_link_libraries(${target} PUBLIC gRPC::grpc++)
  else()
    target_link_libraries(${target} PUBLIC grpc++)
  endif()
  target_link_libraries(${target} PUBLIC protobuf::libprotobuf ${arg_DEPENDS})
endfunction()
