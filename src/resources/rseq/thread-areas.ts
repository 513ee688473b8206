/**
 * Places in a thread's memory that the kernel knows about: the list of robust futexes (man 2 get_robust_list) and the
 * word that is cleared when the thread ends (man 2 set_tid_address). The C library registers both for every thread.
 */
import type { Abi } from '../../agent/abi.ts';
import type { Place, Program } from '../../agent/program.ts';
import { PR_GET_TID_ADDRESS } from '../../linux/abi/prctl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { VisitResult } from '../../tracee/guest.ts';
import { u64 } from '../task/words.ts';

export interface ThreadAreas {
  readonly futex_rla: bigint;
  readonly futex_rla_len: number;
  /** 0 when there is none. */
  readonly clearTidAddr: bigint;
}

export interface ThreadAreasToken {
  readonly head: Place;
  readonly length: Place;
  readonly tidAddress: Place;
}

/** A 32-bit task has a list of its own kind; its addresses of 32 bits are put into words of zeros. */
export function inspectThreadAreas(program: Program, abi: Abi): ThreadAreasToken {
  const [head, length, tidAddress] = [program.reserve(8), program.reserve(8), program.reserve(8)];
  program.callAs(abi, 'get_robust_list', 0, head, length);
  program.call(SYS.prctl, PR_GET_TID_ADDRESS, tidAddress);
  return { head, length, tidAddress };
}

export function describeThreadAreas(token: ThreadAreasToken, result: VisitResult): ThreadAreas {
  return {
    futex_rla: u64(result.bytes(token.head)),
    futex_rla_len: Number(u64(result.bytes(token.length))),
    clearTidAddr: u64(result.bytes(token.tidAddress)),
  };
}

export function planThreadAreas(program: Program, areas: ThreadAreas, abi: Abi): void {
  program.call(SYS.set_tid_address, areas.clearTidAddr);
  if (areas.futex_rla_len === 0) return;
  program.mustAs('register robust futexes', abi, 'set_robust_list', areas.futex_rla, areas.futex_rla_len);
}
