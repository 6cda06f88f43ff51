/* SPDX-License-Identifier: MIT */
/*
 * Frame of a compiled-model file: this header, then the FlatBuffer of
 * compiled_model.fbs. Little-endian.
 */
#ifndef NPU_COMPILED_MODEL_H
#define NPU_COMPILED_MODEL_H

#include "target.h"

#define NPU_MODEL_FILE_MAGIC	0x4c444f4d2d55504eull	/* "NPU-MODL" read as bytes */
#define NPU_MODEL_FILE_VERSION	1

#define NPU_REGION_CONSTANTS	0
#define NPU_REGION_SCRATCH	1
#define NPU_REGION_TENSORS	2	/* inputs and outputs from here on */

struct npu_model_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes;		/* 64 */
	uint64_t payload_bytes;		/* of the FlatBuffer: the rest of the file, exactly */
	uint32_t payload_crc32;		/* zlib's crc32 of the payload */
	uint32_t reserved[9];
};

#endif
