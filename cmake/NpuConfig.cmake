# SPDX-License-Identifier: MIT
#
# Reads the configuration: runs scripts/gen-target.py on .config (or on the
# defaults of Kconfig without one) whenever its inputs changed, and includes
# the CONFIG_* variables it writes.

set(NPU_GENERATED_DIR "${PROJECT_BINARY_DIR}/generated")
set(NPU_CONFIG_FILE "${PROJECT_SOURCE_DIR}/.config" CACHE FILEPATH "Configuration (make menuconfig)")

# kconfiglib is a package of the distribution's python, which need not be the
# first python3 in PATH.
find_program(NPU_PYTHON NAMES /usr/bin/python3 python3 REQUIRED)
execute_process(
  COMMAND "${NPU_PYTHON}" "${PROJECT_SOURCE_DIR}/scripts/gen-target.py"
    --config "${NPU_CONFIG_FILE}" --output "${NPU_GENERATED_DIR}"
  RESULT_VARIABLE npu_result)
if(npu_result)
  message(FATAL_ERROR "scripts/gen-target.py failed; see above")
endif()

foreach(input Kconfig configs/card_defconfig configs/edge_defconfig include/npu/target.h
    scripts/gen-target.py)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${input}")
endforeach()
if(EXISTS "${NPU_CONFIG_FILE}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${NPU_CONFIG_FILE}")
endif()

include("${NPU_GENERATED_DIR}/npu_config.cmake")
