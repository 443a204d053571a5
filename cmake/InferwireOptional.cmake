# SPDX-License-Identifier: Apache-2.0
#
# The headers for other libraries: targets that bring the library, which is looked for when one is asked for. They are imported
# ones, so that libraries which link them can be exported.

set(inferwire_optional_components asio eigen dlpack torch)
# The function below is called from other directories too, which do not see this one's variables.
set_property(GLOBAL PROPERTY inferwire_optional_components ${inferwire_optional_components})
set_property(GLOBAL PROPERTY inferwire_eigen_library Eigen3 Eigen3::Eigen)
set_property(GLOBAL PROPERTY inferwire_dlpack_library dlpack dlpack::dlpack)
set_property(GLOBAL PROPERTY inferwire_torch_library Torch torch)

# Boost.Asio, or where there is none (or its variable is OFF) Asio alone: headers without a package file. Without either,
# no target.
function(_inferwire_add_asio)
  find_path(INFERWIRE_BOOST_INCLUDE_DIR boost/asio/any_io_executor.hpp DOC "Where the headers of Boost 1.74 or later are")
  find_path(INFERWIRE_ASIO_INCLUDE_DIR asio/any_io_executor.hpp DOC "Where the headers of Asio 1.18 or later are")
  mark_as_advanced(INFERWIRE_BOOST_INCLUDE_DIR INFERWIRE_ASIO_INCLUDE_DIR)
  if(INFERWIRE_BOOST_INCLUDE_DIR)
    set(directory "${INFERWIRE_BOOST_INCLUDE_DIR}")
    set(definition "")
  elseif(INFERWIRE_ASIO_INCLUDE_DIR)
    set(directory "${INFERWIRE_ASIO_INCLUDE_DIR}")
    set(definition INFERWIRE_STANDALONE_ASIO)
  else()
    return()
  endif()
  add_library(inferwire::asio INTERFACE IMPORTED GLOBAL)
  target_link_libraries(inferwire::asio INTERFACE inferwire::inferwire Threads::Threads)
  target_include_directories(inferwire::asio SYSTEM INTERFACE "${directory}")
  target_compile_definitions(inferwire::asio INTERFACE ${definition})
endfunction()

# inferwire_add_optional(<component> [<missing>])
#
# Defines inferwire::<component>, once. Where its library is not found, the variable <missing> says so and is empty
# otherwise; without the variable, that is an error.
function(inferwire_add_optional component)
  set(missing "")
  get_property(components GLOBAL PROPERTY inferwire_optional_components)
  if(NOT component IN_LIST components)
    list(JOIN components ", " known)
    message(FATAL_ERROR "inferwire has no optional component '${component}'; it has ${known}")
  endif()
  if(component STREQUAL asio AND NOT TARGET inferwire::asio)
    _inferwire_add_asio()
    if(NOT TARGET inferwire::asio)
      set(missing "inferwire's component 'asio' needs the headers of Boost 1.74 or of Asio 1.18, or later, which were not found")
    endif()
  elseif(NOT TARGET inferwire::${component})
    get_property(names GLOBAL PROPERTY inferwire_${component}_library)
    list(GET names 0 package)
    list(GET names 1 library)
    if(NOT TARGET ${library})
      set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)  # the component is linked from other directories too
      find_package(${package} QUIET)
    endif()
    if(TARGET ${library})
      add_library(inferwire::${component} INTERFACE IMPORTED GLOBAL)
      target_link_libraries(inferwire::${component} INTERFACE inferwire::inferwire ${library})
    else()
      set(missing "inferwire's component '${component}' needs ${package}, which was not found")
    endif()
  endif()
  if(ARGC GREATER 1)
    set(${ARGV1} "${missing}" PARENT_SCOPE)
  elseif(missing)
    message(FATAL_ERROR "${missing}")
  endif()
endfunction()
