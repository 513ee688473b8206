/** FD_CLOEXEC of descriptors where only the task itself can tell it. */
import type { Program } from '../../../agent/program.ts';
import type { FdinfoEntry } from '../../../image/gen/fdinfo.ts';
import { F_GETFD, FD_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { VisitResult } from '../../../tracee/guest.ts';

export class CloexecQuestions {
  readonly #entries = new Map<number, FdinfoEntry[]>();

  /** The entry of a descriptor of task `pid`, whose flags are to be asked for. */
  add(pid: number, entry: FdinfoEntry): void {
    const entries = this.#entries.get(pid);
    if (entries === undefined) this.#entries.set(pid, [entry]);
    else entries.push(entry);
  }

  /** Adds the questions to a program of the task; what is returned completes the entries with the answers. */
  ask(program: Program, pid: number): (results: Pick<VisitResult, 'results'>) => void {
    const entries = this.#entries.get(pid);
    if (entries === undefined) return () => undefined;
    const first = program.callEach(
      SYS.fcntl,
      entries.map(({ fd }) => fd),
      F_GETFD,
    );
    return (results) => {
      const flags = results.results(first, entries.length);
      for (let i = 0; i < entries.length; i++) {
        const entry = entries[i];
        if (entry !== undefined) entry.flags = (flags[i] ?? 0) & FD_CLOEXEC;
      }
    };
  }
}
