/**
 * Lets connections speak again that have nothing left to be sent: nearly all of them, by one table of calls. The others
 * have steps of their own (tcp-restore.ts, finishConnection()), which do the same and more.
 */
import type { Result } from '../../../agent/program.ts';
import { CriuError } from '../../../base/errors.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import * as INET from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { KeptTable } from '../../../tracee/call-table.ts';
import { SecondCore } from '../../../tracee/second-core.ts';
import { nameOf } from './tcp-restore.ts';

/** A connection in repair mode that the controller has open, and what it has when that has ended. */
export interface Held {
  readonly fd: number;
  readonly entry: InetSkEntry;
}

const INT_BYTES = 4;
const BOTH_LOCKS = SOCKET.SOCK_SNDBUF_LOCK | SOCKET.SOCK_RCVBUF_LOCK;

/** The same in each run. */
const resuming = new KeptTable((row) => {
  const fd = row.words(0);
  const steps: Result[] = [];
  const set = (level: number, option: number) => {
    const value = row.words(0);
    steps.push(row.call(SYS.setsockopt, row.wordAt(fd), level, option, value, INT_BYTES));
    return value;
  };
  set(INET.SOL_TCP, INET.TCP_REPAIR);
  // Leaving repair mode clears it.
  const reuseAddress = set(SOCKET.SOL_SOCKET, SOCKET.SO_REUSEADDR);
  const reusePort = set(SOCKET.SOL_SOCKET, SOCKET.SO_REUSEPORT);
  const send = set(SOCKET.SOL_SOCKET, SOCKET.SO_SNDBUFFORCE);
  // Setting the sizes has fixed them: without this option, and before Linux 5.14, they stay so.
  const locks = set(SOCKET.SOL_SOCKET, SOCKET.SO_BUF_LOCK);
  const withoutLocks = steps.slice(0, -1);
  row.call(SYS.close, row.wordAt(fd));
  return { fd, steps, withoutLocks, reuseAddress, reusePort, send, locks };
});

/**
 * Closes all of them. Throws CriuError for the first that fails, unless by one of the `tolerated` errors; the others are
 * done all the same.
 */
export function resumeAll(connections: readonly Held[], tolerated: readonly number[]): void {
  let failure: CriuError | undefined;
  using core = SecondCore.tryStart(connections.length);
  resuming.use(connections.length, (table, columns) => {
    const { view } = table;
    table.runAll(
      connections.length,
      (row, index) => {
        const { fd, entry } = connections[index] as Held;
        const { opts } = entry;
        view.setUint32(table.at(row, columns.fd), fd, true);
        view.setUint32(table.at(row, columns.reuseAddress), Number(opts.reuseaddr === true), true);
        view.setUint32(table.at(row, columns.reusePort), Number(opts.so_reuseport === true), true);
        view.setUint32(table.at(row, columns.send), opts.so_sndbuf >>> 1, true);
        view.setUint32(table.at(row, columns.locks), opts.so_buf_lock ?? BOTH_LOCKS, true);
      },
      (row, index) => {
        const { entry } = connections[index] as Held;
        const steps = entry.opts.so_buf_lock === undefined ? columns.withoutLocks : columns.steps;
        const failed = steps.find((step) => table.result(row, step) < 0);
        if (failed === undefined) return;
        const errno = -table.result(row, failed);
        if (tolerated.includes(errno)) return;
        const action = `cannot leave repair mode with its options (${errnoName(errno)})`;
        failure ??= new CriuError({ object: nameOf(entry), action, crErrno: errno });
      },
      core,
    );
  });
  if (failure !== undefined) throw failure;
}
