# What the library is built with: runtime/cpp/dependencies gets it on Debian.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# The interface of ONNX Runtime: its header alone; the library is loaded when it runs.
find_path(ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h
          HINTS ENV ONNXRUNTIME_INCLUDE_DIR ${CMAKE_CURRENT_SOURCE_DIR}/../../build/cpp/onnxruntime/usr/include
          PATH_SUFFIXES onnxruntime onnxruntime/core/session)
if(NOT ONNXRUNTIME_INCLUDE_DIR)
  message(FATAL_ERROR "onnxruntime_c_api.h was not found; run: make cpp (gets it), "
                      "or give -DONNXRUNTIME_INCLUDE_DIR=FOLDER of ONNX Runtime 1.22 or later")
endif()
find_path(KISSFFT_INCLUDE_DIR kissfft/kissfft.hh)
find_path(NLOHMANN_JSON_INCLUDE_DIR nlohmann/json.hpp)
foreach(needed KISSFFT_INCLUDE_DIR NLOHMANN_JSON_INCLUDE_DIR)
  if(NOT ${needed})
    message(FATAL_ERROR "${needed} was not found; Debian: apt-get install libkissfft-dev nlohmann-json3-dev")
  endif()
endforeach()
if(FRCRN_WITH_SOXR)
  pkg_check_modules(SOXR REQUIRED IMPORTED_TARGET soxr)
endif()
