/** Owner and signal of an open file (man 2 fcntl, "Managing signals"): who is told when I/O becomes possible. */
import type { FownEntry } from '../../../image/gen/fown.ts';
import {
  F_SETFL,
  F_SETOWN_EX,
  F_SETSIG,
  FASYNC,
  O_APPEND,
  O_DIRECT,
  O_NOATIME,
  O_NONBLOCK,
} from '../../../linux/abi/fcntl.ts';
import { PR_SET_DUMPABLE } from '../../../linux/abi/prctl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { FdTablePlan } from './fd-table-plan.ts';

/** What F_SETFL can change (fs/fcntl.c SETFL_MASK). */
export const SETFL_MASK = O_APPEND | FASYNC | O_NONBLOCK | O_DIRECT | O_NOATIME;

const KEEP = -1;

/**
 * Plans F_SETSIG, F_SETOWN_EX and, last, O_ASYNC. The kernel remembers who set the owner and checks signals against
 * that (fs/fcntl.c sigio_perm()), so the task takes those ids for a moment; its saved uid is 0, so it can return.
 */
export function planOwner(plan: FdTablePlan, fd: number, fown: FownEntry, flags: number): void {
  // Hardly any has one.
  if (fown.signum === 0 && fown.pid === 0 && (flags & FASYNC) === 0) return;
  const what = `owner of descriptor ${fd}`;
  if (fown.signum !== 0) plan.do(`set the signal of the ${what}`, SYS.fcntl, fd, F_SETSIG, fown.signum);
  if (fown.pid !== 0) {
    const isOther = fown.uid !== 0 || fown.euid !== 0;
    const owner = { bytes: new Uint8Array(Int32Array.of(fown.pid_type, fown.pid).buffer) };
    if (isOther) plan.do(`set ids for the ${what}`, SYS.setresuid, fown.uid, fown.euid, KEEP);
    plan.do(`set the ${what}`, SYS.fcntl, fd, F_SETOWN_EX, owner);
    if (isOther) {
      plan.do('set ids back', SYS.setresuid, 0, 0, KEEP);
      plan.do('stay dumpable', SYS.prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    }
  }
  if ((flags & FASYNC) !== 0) plan.do(`set the flags of descriptor ${fd}`, SYS.fcntl, fd, F_SETFL, flags & SETFL_MASK);
}
