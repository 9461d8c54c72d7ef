# Libraries of the distribution, by pkg-config. Python: the distribution's own, whatever python3 comes first in PATH.
find_package(PkgConfig REQUIRED)
foreach(lib IN ITEMS libzmq jansson libseccomp uuid libuv openssl sqlite3 libmnl libnftnl libcurl cmocka zlib libpcre2-8 libnghttp2 libcares)
  string(REGEX REPLACE "^lib" "" name ${lib})
  string(TOUPPER ${name} name)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${lib})
endforeach()

execute_process(
  COMMAND /usr/bin/python3 -c "import sysconfig; print(sysconfig.get_config_var('LIBPC') or '')"
  OUTPUT_VARIABLE PYTHON_PC_DIR OUTPUT_STRIP_TRAILING_WHITESPACE)
set(ENV{PKG_CONFIG_PATH} "${PYTHON_PC_DIR}:$ENV{PKG_CONFIG_PATH}")
pkg_check_modules(PYEMBED REQUIRED IMPORTED_TARGET python3-embed)

find_library(WSLAY_LIBRARY wslay REQUIRED) # its package has no pkg-config file
add_library(wslay INTERFACE)
target_link_libraries(wslay INTERFACE ${WSLAY_LIBRARY})

set(LLHTTP_DIR "${CMAKE_SOURCE_DIR}/build/deps/llhttp" CACHE PATH "llhttp C sources, fetched by ./bootstrap deps")
if(NOT EXISTS ${LLHTTP_DIR}/include/llhttp.h)
  message(FATAL_ERROR "llhttp sources are missing in ${LLHTTP_DIR}: run ./bootstrap deps")
endif()
file(GLOB LLHTTP_SOURCES ${LLHTTP_DIR}/src/*.c)
add_library(llhttp STATIC ${LLHTTP_SOURCES})
target_include_directories(llhttp SYSTEM PUBLIC ${LLHTTP_DIR}/include)
target_compile_options(llhttp PRIVATE -w)
