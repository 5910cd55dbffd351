# What an installation holds: the library, its header, and how CMake (find_package(frcrn)) and pkg-config
# find them. The tool and the plugin install themselves.
include(CMakePackageConfigHelpers)

set(FRCRN_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/frcrn)
install(TARGETS frcrn EXPORT frcrn-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/frcrn.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT frcrn-targets NAMESPACE frcrn:: DESTINATION ${FRCRN_CMAKE_DIR})
configure_package_config_file(cmake/frcrn-config.cmake.in frcrn-config.cmake
                              INSTALL_DESTINATION ${FRCRN_CMAKE_DIR} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(frcrn-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/frcrn-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/frcrn-config-version.cmake
        DESTINATION ${FRCRN_CMAKE_DIR})

# The tool (bin/) and the plugin (lib/ladspa/) find the library from where they lie.
set(CMAKE_INSTALL_RPATH $ORIGIN/../${CMAKE_INSTALL_LIBDIR} $ORIGIN/..)

# Paths are relative to the file, so that an unpacked archive works wherever it lies.
set(FRCRN_PC_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH FRCRN_PC_PREFIX /${FRCRN_PC_DIR} /)
string(REGEX REPLACE "/$" "" FRCRN_PC_PREFIX ${FRCRN_PC_PREFIX})
if(FRCRN_WITH_SOXR)
  set(FRCRN_PC_REQUIRES soxr)
endif()
configure_file(cmake/frcrn.pc.in frcrn.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/frcrn.pc DESTINATION ${FRCRN_PC_DIR})

install(FILES ../../LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/frcrn RENAME copyright)
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/frcrn)
