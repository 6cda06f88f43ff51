/* SPDX-License-Identifier: MIT */
/*
 * Commands of a stream. A stream is a list of commands for one core, each one
 * record of 128 bytes, or two where a MAC command has an extension. A
 * command's index counts commands, not records. The sequencer hands commands
 * in list order to four engines; each engine executes and retires in order and
 * counts retirements from 0 at job start. A command starts once all its waits
 * are met; nothing else orders engines. NOP and YIELD are executed by the
 * sequencer: it hands out nothing behind them until their waits are met and,
 * for YIELD, until every earlier command of its list has retired.
 *
 * Fields that a command does not use, and all reserved fields, are zero; an
 * encoding that is not described is BAD_COMMAND. No two encodings mean the same:
 * fields that have no meaning at a command's sizes have one value, too. Strides
 * in bytes of a dimension of size 1 are 0; the stride of a window that takes no
 * second step and the dilation of a kernel of size 1 are 1 (but stride_x of
 * DEPTHWISE is free: it decides the time); rows that do not wrap have no ring.
 * source_op is free: it is for reports. Floating-point fields (_f32)
 * hold the bits of an IEEE 754 binary32; NaN and infinity are BAD_COMMAND.
 */
#ifndef NPU_COMMAND_H
#define NPU_COMMAND_H

#include "target.h"

#define NPU_RECORD_BYTES	128
#define NPU_STREAM_MAX_BYTES	(16u << 20)
#define NPU_COMMAND_MAX_MACS	(1ull << 36)

enum npu_opcode {
	NPU_OP_NOP = 0x00,		/* DISPATCH */
	NPU_OP_YIELD = 0x01,		/* DISPATCH */
	NPU_OP_LOAD = 0x10,		/* LOAD: external memory -> SRAM */
	NPU_OP_FILL = 0x11,		/* LOAD: pad_value -> SRAM */
	NPU_OP_SRAM_COPY = 0x12,	/* LOAD: SRAM -> SRAM */
	NPU_OP_PEER_LOAD = 0x13,	/* LOAD: SRAM of another core of the gang -> SRAM */
	NPU_OP_STORE = 0x18,		/* STORE: SRAM -> external memory */
	NPU_OP_CONV = 0x20,		/* MAC: convolution, dense or grouped */
	NPU_OP_DEPTHWISE = 0x21,	/* MAC: one filter per channel, in_c = out_c = groups */
	NPU_OP_MATMUL = 0x22,		/* MAC: rows x K times K x N */
	NPU_OP_VEC = 0x30,		/* VEC: see npu_vec_function */
};

enum npu_data_type {
	NPU_TYPE_NONE = 0,
	NPU_TYPE_INT4 = 1,
	NPU_TYPE_UINT4 = 2,
	NPU_TYPE_INT8 = 3,
	NPU_TYPE_UINT8 = 4,
	NPU_TYPE_INT16 = 5,
	NPU_TYPE_INT32 = 6,
	NPU_TYPE_FP16 = 7,
	NPU_TYPE_BF16 = 8,
	NPU_TYPE_FP32 = 9,
};

/*
 * A wait: the command starts only after `count` commands of `engine` on `core`
 * (position in the gang) have retired. 0 is no wait. On the own core, count may
 * not exceed the number of that engine's commands EARLIER in the list: a stream
 * that keeps this rule cannot deadlock. With waits on other cores the rule is
 * that the lists of the gang can be merged into one, each in its own order, in
 * which every wait refers to commands before it. Otherwise: status DEADLOCK.
 */
#define NPU_WAIT_COUNT_BITS	20
#define NPU_WAIT_COUNT_MASK	((1u << NPU_WAIT_COUNT_BITS) - 1)
#define NPU_WAIT_ENGINE_SHIFT	20	/* 4 bits */
#define NPU_WAIT_CORE_SHIFT	24	/* 4 bits */
#define NPU_WAIT_RESERVED	0xf0000000u
#define NPU_WAITS		4

struct npu_command_header {
	uint8_t records;		/* 1 or 2: size in records */
	uint8_t opcode;
	uint8_t engine;			/* the opcode's engine */
	uint8_t flags;			/* reserved */
	uint32_t source_op;		/* index in the model's operator table, for reports */
	uint32_t wait[NPU_WAITS];
};

/*
 * A tensor in SRAM: row y, column x, channel c of element size e lies at
 *   address + ((ring_first + y) mod ring_rows) * row_stride + x * pixel_stride + c * e
 * (ring_rows = 0: a plain tensor, no modulo, ring_first = 0). ring_first is less
 * than ring_rows, and a tensor has at most ring_rows rows. Elements of 4 bytes
 * have address and strides that are multiples of 4. A tensor that is written
 * does not overlap itself. A command's output may lie on an operand of it only
 * as the very same tensor (address, strides, ring, element size): a or b of ADD
 * and MUL, a of LUT, SOFTMAX and LAYER_NORM, the residual of a MAC command
 * without a pool; any other overlap within a command is HAZARD.
 */
struct npu_sram_tensor {
	uint32_t address;		/* bytes */
	uint32_t row_stride;		/* bytes between rows */
	uint32_t pixel_stride;		/* bytes between columns */
	uint16_t ring_rows;
	uint16_t ring_first;
};

/* Types of up to four operands, one nibble of npu_data_type each. */
#define NPU_TYPES(a, b, c, d)	((uint16_t)((a) | (b) << 4 | (c) << 8 | (d) << 12))
#define NPU_TYPE_AT(types, i)	(((types) >> (4 * (i))) & 0xf)

/* ---- DISPATCH -------------------------------------------------------- */
#define NPU_YIELD_RANGES	8

/*
 * Here the card may put the job aside. Only the listed ranges survive that; all
 * other SRAM and the accumulators are then zero. So that a wrong list shows every
 * time, reading what was written before a YIELD that does not list it is HAZARD
 * (in units of the hazard detector, of which a range keeps all that it touches).
 */
struct npu_command_yield {
	struct npu_command_header header;
	uint32_t range_count;
	uint32_t reserved0;
	struct {
		uint32_t address;
		uint32_t bytes;
	} live[NPU_YIELD_RANGES];	/* SRAM that must survive a preemption here */
	uint64_t reserved[4];
};

/* ---- LOAD, STORE ------------------------------------------------------ */
/*
 * Moves a block of size[3] x size[2] x size[1] x size[0] elements of
 * 1 << element_log2 bytes. Dimension 0 is the innermost of the loop; every
 * dimension has a stride on both sides, so that transposition is strides.
 * The external address of an element is
 *   region base + external_offset + sum(index[i] * external_stride[i])
 * and must stay below 2^48. In SRAM, dimension 2 is the row of the ring.
 * LOAD may add padding around dimensions 0..2: the SRAM block is
 * pad_before + size + pad_after long there and the padding gets pad_value;
 * nothing is read for it. The block, padding included, is no longer than the
 * SRAM; what is written, to either side, does not overlap itself.
 *
 *   LOAD       external -> sram                  FILL      pad_value -> sram
 *   STORE      sram -> external                  SRAM_COPY source_address -> sram
 *   PEER_LOAD  source_address of peer_core, another core of the gang -> sram
 * SRAM_COPY and PEER_LOAD use external_stride for the source's strides.
 * A LOAD with `multicast` reads once and writes the same addresses, padding
 * included, of its own core and of every core named (bit i: position i of the
 * gang, not the own). Either accesses another core's SRAM, which waits on
 * that core's engines must order like any other two accesses.
 */
struct npu_command_dma {
	struct npu_command_header header;
	uint8_t region;			/* index in the job's region table; LOAD and STORE */
	uint8_t element_log2;		/* 0..2 */
	uint8_t peer_core;		/* PEER_LOAD: position in the gang */
	uint8_t reserved0;
	uint32_t pad_value;		/* low 1 << element_log2 bytes */
	uint64_t external_offset;
	uint32_t size[4];		/* each >= 1 */
	uint32_t external_stride[4];	/* bytes */
	uint32_t sram_stride[4];	/* bytes */
	uint32_t sram_address;
	uint16_t ring_rows;		/* of dimension 2; 0 = no ring */
	uint16_t ring_first;
	uint16_t pad_before[3];
	uint16_t pad_after[3];
	uint32_t source_address;	/* SRAM_COPY, PEER_LOAD */
	uint16_t multicast;		/* LOAD: mask of gang cores that are written too */
	uint16_t reserved1;
	uint32_t reserved2[3];
};

/* ---- MAC --------------------------------------------------------------- */
enum npu_weight_format {
	NPU_WEIGHTS_RAW = 0,		/* [out channel][ky][kx][in channel of the group], int8 or uint8 */
	NPU_WEIGHTS_COMPRESSED = 1,	/* reserved */
};

#define NPU_ACCUMULATE_ADD	(1u << 0)	/* add to what an earlier KEEP left; else start from bias */
#define NPU_ACCUMULATE_KEEP	(1u << 1)	/* leave the sums in the accumulators; no output */

#define NPU_MAC_SCALE_PER_CHANNEL (1u << 0)	/* scale table at `scales`, else the field scale_f32 */
#define NPU_MAC_BIAS		(1u << 1)	/* int32 bias table at `bias` */
#define NPU_MAC_WEIGHTS_KN	(1u << 2)	/* MATMUL: B is [K][N] with weight_stride between k, else
						 * [N][K] with weight_stride between n */
#define NPU_MAC_ACTIVATION_STATIONARY (1u << 3)	/* the left operand is held in the array; changes
						 * time alone. Not DEPTHWISE, no KEEP, no ADD */

/*
 * Padding: a tap outside the input counts as the input's zero point. Only the
 * top and left pads are stored; the others follow from the sizes.
 *
 * acc[o] = bias[o] + sum((input - input_zero) * (weight - weight_zero))   int32, wraps
 * 8-bit output: clamp(rint(f32(acc) * scale[o]), clamp_low - output_zero,
 *               clamp_high - output_zero) + output_zero, rounding half to even; then the
 *               extension's steps. INT32 output: acc. FP32 output: f32(acc) * scale[o].
 *
 * KEEP and ADD use accumulator rows [accumulator_base, + out_h * out_w *
 * groups * ceil(out_c / groups / NO)), groups 1 for DEPTHWISE and MATMUL; the
 * base is 0 or A and the rows stay within its bank of A rows. ADD continues the
 * sums of an earlier KEEP of the same out_h, out_w, out_c and number of rows, and
 * has no bias. A command without KEEP and ADD needs base 0 and may be of any
 * size: the array works through it in sub-tiles and both banks lose their
 * contents; so they do at a YIELD, and a bank does once ADD without KEEP has
 * drained it. With KEEP the output type, `output`, scale, zero point, clamps and
 * the extension's output chain are not used.
 *
 * MATMUL is a 1 x 1 convolution with rows for columns: kernel, stride, dilation,
 * groups and pads are 0, out_w = in_w.
 * weight_bytes runs from the first to the last weight, without padding that
 * weight_stride leaves behind the last row.
 */
struct npu_command_mac {
	struct npu_command_header header;
	uint16_t types;			/* NPU_TYPES(input, weight, output, residual) */
	uint8_t weight_format;
	uint8_t accumulate;		/* NPU_ACCUMULATE_* */
	uint16_t accumulator_base;
	uint16_t flags;			/* NPU_MAC_* */
	struct npu_sram_tensor input;
	struct npu_sram_tensor output;
	uint16_t in_h, in_w, in_c;	/* MATMUL: 1, rows, K */
	uint16_t out_h, out_w, out_c;	/* MATMUL: 1, rows, N */
	uint8_t kernel_h, kernel_w;	/* 1..255 */
	uint8_t stride_y, stride_x;
	uint8_t dilation_y, dilation_x;
	uint8_t pad_top, pad_left;
	uint16_t groups;		/* CONV: divides in_c and out_c */
	int16_t input_zero;
	int16_t weight_zero;		/* of all channels, unless the extension has a table */
	int16_t output_zero;
	int16_t clamp_low, clamp_high;	/* 8-bit output */
	uint32_t weights;		/* SRAM address */
	uint32_t weight_bytes;		/* encoded length */
	uint32_t weight_stride;		/* bytes between output channels (or k: NPU_MAC_WEIGHTS_KN) */
	uint32_t bias;			/* SRAM address of int32[out_c], 4-byte aligned */
	uint32_t scales;		/* SRAM address of f32[out_c], 4-byte aligned */
	uint32_t scale_f32;		/* without NPU_MAC_SCALE_PER_CHANNEL; finite, > 0 */
	uint32_t reserved[2];
};

enum npu_pool_kind {
	NPU_POOL_NONE = 0,
	NPU_POOL_MAX = 1,
	NPU_POOL_AVERAGE = 2,
};

#define NPU_EXT_LUT1		(1u << 0)	/* 256-byte table after the requantization */
#define NPU_EXT_RESIDUAL	(1u << 1)
#define NPU_EXT_RESIDUAL_FIRST	(1u << 2)	/* the residual is operand a of the addition */
#define NPU_EXT_LUT2		(1u << 3)	/* after the addition */
#define NPU_EXT_WEIGHT_ZEROS	(1u << 4)	/* int8/uint8 zero point per output channel */

/*
 * The second record: the rest of the output chain, in this order, each optional:
 *   LUT1 -> residual addition -> LUT2 -> pool (window = stride, no pads)
 * LUTs are indexed by the byte's bits. The addition, with a and b its operands:
 *   clamp(rint(fma(a, ra, fma(b, rb, fix))), residual_low, residual_high)
 * With a pool, `output` describes the pooled tensor (floor(out_h / pool_h) rows
 * and so on) while out_h and out_w stay those of the convolution. Bytes keep
 * the output's type through the chain, which only an 8-bit output has.
 * Batch: the command runs batch_count times, without KEEP and ADD; each time the
 * strides are added to the addresses of input, weights, output and residual. No
 * repetition may write what another reads or writes, but as an operand in place.
 */
struct npu_mac_extension {
	struct npu_sram_tensor residual;
	uint32_t ra_f32, rb_f32, fix_f32;
	int16_t residual_low, residual_high;
	uint32_t lut1, lut2;		/* SRAM addresses */
	uint32_t weight_zeros;		/* SRAM address of one byte per output channel */
	uint8_t flags;			/* NPU_EXT_* */
	uint8_t pool_kind;		/* enum npu_pool_kind */
	uint8_t pool_h, pool_w;
	uint32_t pool_in_scale_f32, pool_out_scale_f32;	/* average: as NPU_VEC_POOL_AVERAGE */
	int16_t pool_in_zero, pool_out_zero;
	uint16_t batch_count;		/* 0: once; else 2 or more */
	uint16_t reserved0;
	uint32_t batch_input, batch_weights, batch_output, batch_residual; /* bytes */
	uint32_t reserved[12];
};

/* ---- VEC --------------------------------------------------------------- */
/*
 * "Clamped" is to low..high, values of out's type; rint rounds half to even;
 * arithmetic is binary32, one rounding for each operation written.
 */
enum npu_vec_function {
	NPU_VEC_ADD = 0,		/* a, b -> out: clamp(rint(fma(a, p0, fma(b, p1, p2))), low, high) */
	NPU_VEC_MUL = 1,		/* rint(f32((a - a_zero) * (b - b_zero)) * p0 + out_zero), clamped */
	NPU_VEC_LUT = 2,		/* out = table[a], 256 bytes at `table` */
	NPU_VEC_POOL_MAX = 3,		/* taps outside the input are skipped */
	NPU_VEC_POOL_AVERAGE = 4,	/* rint(f32_sum((a - a_zero) * p0) / count / p1 + out_zero), clamped */
	NPU_VEC_POOL_GLOBAL = 5,	/* rint(f32(sum - n * a_zero) * p0) + out_zero, clamped; out 1 x 1 */
	NPU_VEC_REDUCE = 6,		/* sum as POOL_GLOBAL, or maximum, over chosen axes; see below */
	NPU_VEC_SOFTMAX = 7,		/* over the channels of each pixel; see below */
	NPU_VEC_LAYER_NORM = 8,		/* over the channels of each pixel; see below */
	NPU_VEC_RESIZE = 9,		/* nearest or bilinear; see below */
	NPU_VEC_CAST = 10,		/* int32 or fp32 a -> 8 bit: rint(f32(a) * p0) + out_zero, clamped */
};

/*
 * REDUCE: of in_h and in_w those are reduced that are 1 in the output (out_h is
 * in_h or 1, out_w likewise); with NPU_VEC_REDUCE_CHANNELS the channels too, and
 * out then has one. n elements make one: a sum (a mean is a sum with 1/n in p0),
 * or with NPU_VEC_REDUCE_MAX the largest, which keeps type and quantization.
 *
 * SOFTMAX: `table` has 256 entries E of 4 bytes (aligned), E[i] being e^((i - 255) * sx)
 * times any constant; m is the pixel's largest a, e(a) = E[255 - (m - a)].
 *   integer: E uint32, p0 a whole number of 1 to 2^24; S = sum of e, 64 bits:
 *            (e * p0 + (S >> 1)) / S + out_zero, clamped; a pixel with S = 0: 0 + out_zero
 *   NPU_VEC_SOFTMAX_FP32: E binary32; S = sum of e, binary32, channel by channel from 0:
 *            rint(e * p0 / S) + out_zero, clamped
 *
 * LAYER_NORM: p0 is the scale of a, p1 that of out, epsilon > 0. `table` has gamma, then
 * beta, binary32[channels] each (aligned to 4). With exact sums over the n channels, then
 * binary64 up to the two binary32 of a pixel:
 *   variance = (n * sum(a^2) - sum(a)^2) / n^2
 *   factor = f32(p0 / sqrt(variance * p0 * p0 + epsilon))    before f32(): factor64
 *   shift = f32(-(sum(a) / n * factor64))
 *   rint(fma(fma(a, factor, shift), gamma, beta) / p1) + out_zero, clamped
 *
 * RESIZE: `table` (aligned to 4) has a struct npu_resize_entry for each output row, then
 * for each output column, which name the rows and columns of the input that it is made of.
 * An index beyond the input counts as the last. Nearest: the element at (row.first,
 * column.first), with type and quantization. With NPU_VEC_RESIZE_LINEAR, r1 and c1 the
 * entries' weights, r0 = 1 - r1, c0 = 1 - c1, and x = a - a_zero:
 *   sum = c0 * r0 * x[first][first] + c1 * r0 * x[first][second] + c0 * r1 * x[second][first]
 *         + c1 * r1 * x[second][second]           left to right
 *   rint(sum * p0) + out_zero, clamped
 * or with NPU_VEC_RESIZE_TRUNCATE too the sum of a itself, cut to an integer of a's type.
 */
#define NPU_VEC_COUNT_PAD	(1u << 0)	/* POOL_AVERAGE: count = kernel_h * kernel_w, always */
#define NPU_VEC_BROADCAST_B	(1u << 1)	/* ADD, MUL: b is one pixel of `channels`, repeated */
#define NPU_VEC_SOFTMAX_FP32	(1u << 2)	/* SOFTMAX in binary32 */
#define NPU_VEC_REDUCE_MAX	(1u << 3)	/* REDUCE: maximum, not sum */
#define NPU_VEC_REDUCE_CHANNELS	(1u << 4)	/* REDUCE: over the channels too */
#define NPU_VEC_RESIZE_LINEAR	(1u << 5)	/* RESIZE: bilinear, not nearest */
#define NPU_VEC_RESIZE_TRUNCATE	(1u << 6)	/* RESIZE_LINEAR of stored values, cut */

#define NPU_SOFTMAX_ENTRIES	256

struct npu_resize_entry {
	uint16_t first, second;		/* rows or columns of the input */
	uint32_t weight_f32;		/* of second; 0 to 1 */
};

struct npu_command_vec {
	struct npu_command_header header;
	uint16_t types;			/* NPU_TYPES(a, b, out, 0) */
	uint8_t function;		/* enum npu_vec_function */
	uint8_t flags;			/* NPU_VEC_* */
	struct npu_sram_tensor a;
	struct npu_sram_tensor b;
	struct npu_sram_tensor out;
	uint16_t in_h, in_w;		/* of a (and b) */
	uint16_t channels;
	uint16_t out_h, out_w;		/* equal to in_h, in_w unless pooling, reducing or resizing */
	uint16_t reserved0;
	uint8_t kernel_h, kernel_w;	/* pools */
	uint8_t stride_y, stride_x;
	uint8_t pad_top, pad_left;
	uint16_t reserved1;
	uint32_t p0_f32, p1_f32, p2_f32;
	int16_t a_zero, b_zero, out_zero;
	int16_t low, high;
	uint16_t reserved2;
	uint32_t table;			/* SRAM address of LUT or parameter table */
	uint32_t epsilon_f32;		/* LAYER_NORM */
};

#ifndef __KERNEL__
#ifdef __cplusplus
#define NPU_ASSERT_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type)
#else
#define NPU_ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#endif
NPU_ASSERT_SIZE(struct npu_command_header, 24);
NPU_ASSERT_SIZE(struct npu_command_yield, NPU_RECORD_BYTES);
NPU_ASSERT_SIZE(struct npu_command_dma, NPU_RECORD_BYTES);
NPU_ASSERT_SIZE(struct npu_command_mac, NPU_RECORD_BYTES);
NPU_ASSERT_SIZE(struct npu_mac_extension, NPU_RECORD_BYTES);
NPU_ASSERT_SIZE(struct npu_command_vec, NPU_RECORD_BYTES);
NPU_ASSERT_SIZE(struct npu_resize_entry, 8);
#undef NPU_ASSERT_SIZE
#endif

#endif
