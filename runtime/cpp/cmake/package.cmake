# `cpack --config build/cpp/CPackConfig.cmake`: a .deb and a .tar.gz of an installation.
string(TOLOWER ${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR} FRCRN_SYSTEM)
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_NAME frcrn)
set(CPACK_PACKAGE_VENDOR "frcrn-export maintainers")
set(CPACK_PACKAGE_CONTACT "frcrn-export maintainers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGE_FILE_NAME frcrn-${PROJECT_VERSION}-${FRCRN_SYSTEM})
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_CURRENT_SOURCE_DIR}/../../LICENSE)
set(CPACK_STRIP_FILES ON)

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION sound)
# ONNX Runtime is loaded when a model opens; from Debian, or from anywhere else (FRCRN_ONNXRUNTIME).
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "libonnxruntime1.23 | libonnxruntime1.21 | libonnxruntime")
if(CMAKE_CROSSCOMPILING)  # dpkg-shlibdeps knows the packages of this machine alone
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)
  set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6, libgcc-s1, libsndfile1, libsoxr0, libstdc++6")
else()
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_CURRENT_BINARY_DIR})
endif()
include(CPack)
