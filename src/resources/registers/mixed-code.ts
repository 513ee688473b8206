/**
 * Tasks whose code is not all of one kind (agent/abi.ts). A 64-bit program may jump to 32-bit code, as Wine does, and the
 * other way round; a program for the x32 ABI is 64-bit code in an address space of 32 bits. Each needs parts of both kinds.
 */
import { ABI_32, ABI_64, type Abi } from '../../agent/abi.ts';
import type { CriuErrorFields } from '../../base/errors.ts';
import type { FrozenTask } from '../../dump/frozen-tree.ts';
import { abiOf } from '../../tracee/registers.ts';
import type { Range } from '../mm/address-space.ts';

/** What is looked at of a task. */
export type MixedTask = Pick<FrozenTask, 'pid' | 'label'> & {
  readonly threads: readonly Pick<FrozenTask['leader'], 'tid' | 'registers'>[];
  readonly stat: Pick<FrozenTask['stat'], 'startstack'>;
};

export function findMixedCode({ pid, label, threads, stat }: MixedTask, mappings: readonly Range[]): CriuErrorFields[] {
  const program = abiOfProgram(stat.startstack, mappings);
  return threads
    .filter(({ registers }) => abiOf(registers) !== program)
    .map(({ tid }) => ({
      object: tid === pid ? label : `thread ${tid} of ${label}`,
      ...(program === ABI_64 ? CODE_32 : CODE_64),
      remedy: 'use a build of the program for x86-64',
    }));
}

const CODE_32 = {
  action: 'cannot be dumped: it executes 32-bit code in a 64-bit program',
  why: 'such a mixture, as Wine makes it, is not supported by this criu',
};
const CODE_64 = {
  action: 'cannot be dumped: it executes 64-bit code in an address space of 32 bits',
  why: 'programs for the x32 ABI, and 32-bit programs that jump to 64-bit code, are not supported by this criu',
};

/** A 64-bit program has its stack at least, which it may unmap, above what 32 bits reach. */
function abiOfProgram(startstack: number, mappings: readonly Range[]): Abi {
  const isHigh = (address: number) => address > ABI_32.taskSize;
  const hasHigh = mappings.some(({ start, end }) => isHigh(end) && start < ABI_64.taskSize); // not [vsyscall]
  return hasHigh || isHigh(startstack) ? ABI_64 : ABI_32;
}
