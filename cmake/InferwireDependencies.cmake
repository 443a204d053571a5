# SPDX-License-Identifier: Apache-2.0
#
# Finds gRPC, protobuf, Abseil and threads, for the build tree and the installed package alike. Sets inferwire_libraries,
# and inferwire_missing to what was not found.

set(inferwire_missing "")

# gRPC first: its package file finds protobuf in the way that it was built with. The other order breaks newer ones.
if(NOT TARGET gRPC::grpc++ AND NOT TARGET grpc++)
  find_package(gRPC CONFIG QUIET)
endif()
if(NOT TARGET protobuf::libprotobuf)
  find_package(Protobuf QUIET)
endif()
if(NOT TARGET absl::statusor)
  find_package(absl CONFIG QUIET)
endif()
if(NOT TARGET Threads::Threads)
  find_package(Threads QUIET)
endif()

# A vendored gRPC has its targets without the namespace.
if(TARGET gRPC::grpc++)
  set(inferwire_libraries gRPC::grpc++)
else()
  set(inferwire_libraries grpc++)
endif()
list(APPEND inferwire_libraries protobuf::libprotobuf Threads::Threads)
foreach(part IN ITEMS any_invocable cord inlined_vector span status statusor strings time)
  list(APPEND inferwire_libraries absl::${part})
endforeach()

foreach(needed IN ITEMS ${inferwire_libraries} protobuf::protoc)
  if(NOT TARGET ${needed})
    list(APPEND inferwire_missing ${needed})
  endif()
endforeach()
list(JOIN inferwire_missing ", " inferwire_missing)
