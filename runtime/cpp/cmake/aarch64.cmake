# 64-bit ARM by Debian's cross compiler, against the libraries that runtime/cpp/dependencies-aarch64 gets;
# qemu runs what is built.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

get_filename_component(FRCRN_ROOT ${CMAKE_CURRENT_LIST_DIR}/../../../build/aarch64 ABSOLUTE)
set(FRCRN_ROOT_LIBRARIES ${FRCRN_ROOT}/usr/lib/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH ${FRCRN_ROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${FRCRN_ROOT_LIBRARIES}/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${FRCRN_ROOT})
add_link_options(-Wl,-rpath-link,${FRCRN_ROOT_LIBRARIES})

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L ${FRCRN_ROOT})
