# SPDX-License-Identifier: MIT
#
# How everything is compiled, and npu_add_test().

if(NOT CMAKE_BUILD_TYPE)
  if(CONFIG_BUILD_DEBUG)
    set(CMAKE_BUILD_TYPE Debug)
  else()
    set(CMAKE_BUILD_TYPE Release)
  endif()
endif()

# Several trees of this project on one machine share what they compile.
find_program(NPU_CCACHE ccache)
if(NPU_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  foreach(language C CXX)
    set(CMAKE_${language}_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
      "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1 "${NPU_CCACHE}")
  endforeach()
endif()

option(NPU_WERROR "Treat compiler warnings as errors" ${CONFIG_BUILD_WERROR})
option(NPU_TESTS "Build the tests" ${CONFIG_BUILD_TESTS})
set(NPU_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize=, e.g. address,undefined")

set(CMAKE_C_STANDARD 11)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_C_FLAGS_DEBUG "-Og -g")
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g")
# No -ffast-math, ever, and no contraction: results are promised bit for bit.
add_compile_options(-Wall -Wextra -ffp-contract=off)
# GCC 12 sees overlaps in assignments of literals to std::string that there are not (its PR 105329).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
if(NPU_WERROR)
  add_compile_options(-Werror)
endif()
if(NPU_SANITIZE)
  add_compile_options(-fsanitize=${NPU_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${NPU_SANITIZE})
endif()

# Instrumentation for libFuzzer (tests/fuzz) and for llvm-cov; both need clang.
option(NPU_FUZZ "Build the libFuzzer programs" OFF)
option(NPU_COVERAGE "Count what is executed, source line by source line" OFF)
if((NPU_FUZZ OR NPU_COVERAGE) AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "NPU_FUZZ and NPU_COVERAGE need clang (-DCMAKE_CXX_COMPILER=clang++)")
endif()
if(NPU_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(NPU_COVERAGE)
  add_compile_options(-fprofile-instr-generate -fcoverage-mapping)
  add_link_options(-fprofile-instr-generate)
endif()

if(NPU_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

# npu_add_test(NAME SOURCES ... [LIBS ...] [TIMEOUT seconds])
# A GoogleTest program; every TEST in it becomes one test of ctest, named
# NAME.Suite.Case.
function(npu_add_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LIBS" ${ARGN})
  if(NOT NPU_TESTS)
    return()
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gtest GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/test")
  gtest_discover_tests(${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT ${arg_TIMEOUT})
endfunction()

# npu_add_tap_test(NAME COMMAND program args... [TIMEOUT seconds] [ENVIRONMENT NAME=VALUE...])
# A program on the host that prints TAP. `make test` counts its lines; plain
# ctest sees its exit status.
function(npu_add_tap_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "COMMAND;ENVIRONMENT" ${ARGN})
  if(NOT NPU_TESTS)
    return()
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  add_test(NAME ${name} COMMAND ${arg_COMMAND})
  set_tests_properties(${name} PROPERTIES LABELS tap TIMEOUT ${arg_TIMEOUT}
    ENVIRONMENT "${arg_ENVIRONMENT}")
endfunction()
