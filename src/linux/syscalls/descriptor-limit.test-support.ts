/** For tests of what is done where this process may have no more descriptors. */
import { RLIMIT_NOFILE } from '../abi/resource.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { check, syscall } from '../kernel.ts';

/** Calls `action` under a soft RLIMIT_NOFILE; afterwards it is as it was. */
export function withDescriptorLimit<T>(soft: number, action: () => T): T {
  const old = new BigUint64Array(2);
  check('prlimit64', syscall(SYS.prlimit64, 0, RLIMIT_NOFILE, 0, old));
  const set = (limit: bigint) =>
    check('prlimit64', syscall(SYS.prlimit64, 0, RLIMIT_NOFILE, BigUint64Array.of(limit, old[1] ?? 0n), 0));
  set(BigInt(soft));
  try {
    return action();
  } finally {
    set(old[0] ?? 0n);
  }
}
