/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Finds queues that stopped making progress, and the ladder of resets. */
#ifndef NPU_WATCHDOG_H
#define NPU_WATCHDOG_H

struct npu_device;
struct npu_hwq;

/*
 * Who holds the watchdog's lock is on the way to signalling fences: lockdep is told
 * first, for the functions called under the lock say so themselves.
 */
bool npu_watchdog_lock(struct npu_device *npu) __must_check;
void npu_watchdog_unlock(struct npu_device *npu, bool cookie);

int npu_watchdog_init(struct npu_device *npu);
void npu_watchdog_fini(struct npu_device *npu);
void npu_watchdog_resume(struct npu_device *npu);
void npu_watchdog_arm(struct npu_device *npu);
void npu_watchdog_kick(struct npu_device *npu);
void npu_watchdog_want_card_reset(struct npu_device *npu);
void npu_watchdog_card_reset_now(struct npu_device *npu);
void npu_watchdog_stop_queue(struct npu_hwq *hwq, u32 status, int error);
void npu_watchdog_card_lost(struct npu_device *npu);
void npu_watchdog_card_lost_now(struct npu_device *npu);

#endif
