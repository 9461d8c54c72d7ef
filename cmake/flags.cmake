# Warnings, hardening and sanitizers for every C target.
add_compile_definitions(_GNU_SOURCE CELLBOX_VERSION="${PROJECT_VERSION}")
add_compile_options(-Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes
                    -fstack-protector-strong -fno-strict-aliasing)
if(CELLBOX_WERROR)
  add_compile_options(-Werror)
endif()
add_link_options(-Wl,-z,relro,-z,now)
include_directories(${CMAKE_SOURCE_DIR})

if(CELLBOX_SANITIZE)
  add_compile_options(-fsanitize=${CELLBOX_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CELLBOX_SANITIZE})
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    # The interpreter host runs inside an image that has no sanitizer libraries.
    if(CELLBOX_SANITIZE MATCHES "address")
      add_link_options(-static-libasan)
    endif()
    if(CELLBOX_SANITIZE MATCHES "undefined")
      add_link_options(-static-libubsan)
    endif()
  endif()
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  # asserts stay on: no -DNDEBUG
  set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
  set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
