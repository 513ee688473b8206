/**
 * Seccomp back into a thread.
 *
 * From the first filter on every system call of the thread may be forbidden. So the thread is traced with
 * PTRACE_O_SUSPEND_SECCOMP until it gets its registers, and so are all others when the leader has a filter with
 * SECCOMP_FILTER_FLAG_TSYNC, which puts the filter on them too. That option needs CAP_SYS_ADMIN.
 *
 * Installing a filter needs CAP_SYS_ADMIN or no_new_privs, and the image may have neither (a container runtime installs
 * the filter first and drops capabilities then): it comes before the credentials.
 */
import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import { SeccompMode, type ThreadCoreEntry } from '../../image/gen/core.ts';
import type { SeccompEntry, SeccompFilter } from '../../image/gen/seccomp.ts';
import { PR_SET_SECCOMP } from '../../linux/abi/prctl.ts';
import {
  BPF_MAXINSNS,
  SECCOMP_MODE_STRICT,
  SECCOMP_SET_MODE_FILTER,
  SOCK_FILTER_BYTES,
} from '../../linux/abi/seccomp.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';

type SeccompFields = Pick<ThreadCoreEntry, 'seccomp_mode' | 'seccomp_filter'>;

/** Whether a thread will be under seccomp by its own image (not by TSYNC of the leader's). */
export function hasSeccomp(thread: SeccompFields): boolean {
  return (thread.seccomp_mode ?? SeccompMode.disabled) !== SeccompMode.disabled;
}

/** Installs the filters, the oldest first, or strict mode. Throws CriuError when the images don't fit together. */
export function planSeccomp(program: Program, thread: SeccompFields, image: SeccompEntry | undefined): void {
  if (thread.seccomp_mode === SeccompMode.strict) {
    program.must('enter strict seccomp mode', SYS.prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
  }
  chain(thread, image).forEach(({ filter, flags }, i) => {
    const code = program.data(filter);
    const fprog = program.words(filter.length / SOCK_FILTER_BYTES, 0);
    program.store64(program.at(fprog, 8), code);
    // With TSYNC the kernel returns the thread that it could not synchronise, which is no negative number.
    program.expect(`install seccomp filter ${i}`, 0, SYS.seccomp, SECCOMP_SET_MODE_FILTER, flags ?? 0, fprog);
  });
}

/** The filters of a thread in the order of installation. */
function chain(thread: SeccompFields, image: SeccompEntry | undefined): SeccompFilter[] {
  if (thread.seccomp_mode !== SeccompMode.filter) return [];
  const all = image?.seccomp_filters ?? [];
  const found: SeccompFilter[] = [];
  for (let index = thread.seccomp_filter; index !== undefined; index = found.at(-1)?.prev) {
    const filter = all[index];
    if (filter === undefined) throw damaged(`has no filter ${index} of ${all.length}`);
    if (found.length === all.length) throw damaged('has a chain of filters that never ends');
    const instructions = filter.filter.length / SOCK_FILTER_BYTES;
    if (!Number.isInteger(instructions) || instructions < 1 || instructions > BPF_MAXINSNS) {
      throw damaged(`has a filter of ${filter.filter.length} bytes`);
    }
    found.push(filter);
  }
  if (found.length === 0) throw damaged('names no filter for a thread that has some');
  return found;
}

function damaged(how: string): CriuError {
  return new CriuError({ object: 'seccomp.img', action: how, why: 'the images are damaged or do not belong together' });
}
