/**
 * What a thread that was not asked has of its own, in the form of answers: its record has the members that
 * get_robust_list(2), PR_GET_TID_ADDRESS and sigaltstack(2) read (kernel/futex/syscalls.c, kernel/sys.c, kernel/signal.c).
 */
import { ABI_32 } from '../../agent/abi.ts';
import type { AlikeThread, FrozenThread } from '../../dump/frozen-tree.ts';
import type { ThreadSasEntry } from '../../image/gen/core.ts';
import { SS_AUTODISARM, SS_DISABLE } from '../../linux/abi/signal.ts';
import { THREAD_AT } from '../../linux/task-threads.ts';
import { abiOf } from '../../tracee/registers.ts';
import type { ThreadAreas } from '../rseq/thread-areas.ts';

const robustListAt = ({ registers }: FrozenThread) =>
  abiOf(registers) === ABI_32 ? THREAD_AT.compatRobustList : THREAD_AT.robustList;

/** `answered`: by its example. */
export function ownAreas(thread: FrozenThread, own: AlikeThread, answered: ThreadAreas): ThreadAreas {
  const futex_rla = wordOf(own, robustListAt(thread));
  return { ...answered, futex_rla, clearTidAddr: wordOf(own, THREAD_AT.tidAddress) };
}

export function ownStack(own: AlikeThread): ThreadSasEntry {
  const [ss_sp, ss_size] = [wordOf(own, THREAD_AT.stack), wordOf(own, THREAD_AT.stackBytes)];
  return { ss_sp, ss_size, ss_flags: stackFlags(own) };
}

/** Puts them in the order of OWN_NUMBERS: the address of the tid, the robust list with its length, the stack. */
export function putOwn(words: Uint32Array, at: number, thread: FrozenThread, own: AlikeThread): void {
  putWord(words, at, own, THREAD_AT.tidAddress);
  putWord(words, at + 2, own, robustListAt(thread));
  putWord(words, at + 6, own, THREAD_AT.stack);
  putWord(words, at + 8, own, THREAD_AT.stackBytes);
  words[at + 10] = stackFlags(own);
  words[at + 11] = 0;
}

function putWord(words: Uint32Array, at: number, own: AlikeThread, place: number): void {
  words[at] = own.words[own.start + place] ?? 0;
  words[at + 1] = own.words[own.start + place + 1] ?? 0;
}

function wordOf({ words, start }: AlikeThread, place: number): bigint {
  const [low, high] = [words[start + place] ?? 0, words[start + place + 1] ?? 0];
  return (BigInt(high) << 32n) | BigInt(low);
}

/** As the kernel tells them, but for SS_ONSTACK. */
function stackFlags({ words, start }: AlikeThread): number {
  const isEmpty = words[start + THREAD_AT.stackBytes] === 0 && words[start + THREAD_AT.stackBytes + 1] === 0;
  return (((words[start + THREAD_AT.stackFlags] ?? 0) & SS_AUTODISARM) | (isEmpty ? SS_DISABLE : 0)) >>> 0;
}
