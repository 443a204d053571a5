# SPDX-License-Identifier: Apache-2.0
#
# The headers for other libraries' tensors: targets that bring the library, which is looked for when one is asked for.

set(inferwire_optional_components eigen dlpack torch)
set(inferwire_eigen_library Eigen3 Eigen3::Eigen)
set(inferwire_dlpack_library dlpack dlpack::dlpack)
set(inferwire_torch_library Torch torch)

# inferwire_add_optional(<component> [<missing>])
#
# Defines inferwire::<component>, once. Where its library is not found, the variable <missing> says so and is empty
# otherwise; without the variable, that is an error.
function(inferwire_add_optional component)
  set(missing "")
  if(NOT component IN_LIST inferwire_optional_components)
    list(JOIN inferwire_optional_components ", " known)
    message(FATAL_ERROR "inferwire has no optional component '${component}'; it has ${known}")
  endif()
  if(NOT TARGET inferwire::${component})
    list(GET inferwire_${component}_library 0 package)
    list(GET inferwire_${component}_library 1 library)
    if(NOT TARGET ${library})
      set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)  # the component is linked from other directories too
      find_package(${package} QUIET)
    endif()
    if(TARGET ${library})
      add_library(inferwire_${component} INTERFACE)
      target_link_libraries(inferwire_${component} INTERFACE inferwire::inferwire ${library})
      add_library(inferwire::${component} ALIAS inferwire_${component})
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
