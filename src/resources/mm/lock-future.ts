/**
 * mlockall(MCL_FUTURE): whether later mappings are locked. Nothing in /proc tells, so a page is mapped and looked at:
 * msync(MS_INVALIDATE) says EBUSY when it is locked (man 2 msync), and it is there at once when it is not MCL_ONFAULT.
 */
import type { Abi } from '../../agent/abi.ts';
import type { Place, Program, Result } from '../../agent/program.ts';
import { ERRNO } from '../../linux/abi/errno.ts';
import {
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MCL_FUTURE,
  MCL_ONFAULT,
  MS_INVALIDATE,
  PROT_READ,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { VisitResult } from '../../tracee/guest.ts';

const PAGE = 4096;

export interface LockFutureToken {
  readonly invalidated: Result;
  readonly resident: Place;
}

/** Questions to a task. */
export function inspectLockFuture(program: Program, abi: Abi): LockFutureToken {
  const protection = PROT_READ | PROT_WRITE;
  const page = program.callAs(abi, 'mmap', 0, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const invalidated = program.call(SYS.msync, page, PAGE, MS_INVALIDATE);
  const resident = program.reserve(1);
  program.call(SYS.mincore, page, PAGE, resident);
  program.call(SYS.munmap, page, PAGE);
  return { invalidated, resident };
}

/** MCL_FUTURE and MCL_ONFAULT, or 0. */
export function describeLockFuture({ invalidated, resident }: LockFutureToken, result: VisitResult): number {
  if (result.result(invalidated) !== -ERRNO.EBUSY) return 0;
  const isPresent = ((result.bytes(resident)[0] ?? 0) & 1) !== 0;
  return isPresent ? MCL_FUTURE : MCL_FUTURE | MCL_ONFAULT;
}
