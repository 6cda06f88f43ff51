// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Makes the trace points of npu_trace.h. */
#define CREATE_TRACE_POINTS
#include "npu_trace.h"
