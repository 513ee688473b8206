/**
 * Fetches the TCP connections of complete tasks for the controller. It has all of them at once: when the first one speaks
 * again nothing may fail any more.
 */
import { CriuError } from '../../../base/errors.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { pidfd_open, tryRaiseDescriptorLimit } from '../../../linux/syscalls/process.ts';
import { KeptTable } from '../../../tracee/call-table.ts';
import type { Held } from './resume-table.ts';
import { nameOf } from './tcp-restore.ts';

/** Where a task has a connection open. */
export interface Place {
  readonly pid: number;
  readonly fd: number;
}

/** The same in each run. */
const fetching = new KeptTable((row) => {
  const [pidfd, fd] = [row.words(0), row.words(0)];
  return { pidfd, fd, fetched: row.call(SYS.pidfd_getfd, row.wordAt(pidfd), row.wordAt(fd), 0) };
});

/** Descriptors that a restore has besides, and needs to unlock the network. */
const OTHERS = 256;

/** Adds them to `held`, also when one fails. Throws CriuError for the first that does, SyscallError. */
export function fetchConnections(wanted: readonly (Place & { readonly entry: InetSkEntry })[], held: Held[]): void {
  if (wanted.length === 0) return;
  const needed = wanted.length + OTHERS;
  // Where it may not be higher, it may be high enough all the same.
  tryRaiseDescriptorLimit(needed);
  const pidfds = new Map<number, number>();
  let failure: CriuError | undefined;
  try {
    for (const { pid } of wanted) if (!pidfds.has(pid)) pidfds.set(pid, pidfd_open(pid));
    fetching.use(wanted.length, (table, columns) => {
      const { view } = table;
      table.runAll(
        wanted.length,
        (row, index) => {
          const { pid, fd } = wanted[index] as Place;
          view.setUint32(table.at(row, columns.pidfd), pidfds.get(pid) ?? -1, true);
          view.setUint32(table.at(row, columns.fd), fd, true);
        },
        (row, index) => {
          const { entry } = wanted[index] as Pick<Held, 'entry'>;
          const fd = table.result(row, columns.fetched);
          if (fd >= 0) held.push({ fd, entry });
          else failure ??= notFetched(entry, -fd, needed);
        },
      );
    });
  } finally {
    for (const pidfd of pidfds.values()) close(pidfd);
  }
  if (failure !== undefined) throw failure;
}

function notFetched(entry: InetSkEntry, errno: number, needed: number): CriuError {
  return new CriuError({
    object: nameOf(entry),
    action: `cannot be fetched to end its repair mode (pidfd_getfd: ${errnoName(errno)})`,
    ...(errno === ERRNO.EMFILE ? { remedy: `restore with RLIMIT_NOFILE of ${needed} or more` } : {}),
    crErrno: errno,
  });
}
