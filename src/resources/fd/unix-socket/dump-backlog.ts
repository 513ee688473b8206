/**
 * Connections that wait in the backlog of a listening socket: who they are from, and what has been sent. Where criu may
 * not read that (unaccepted.ts), only those can be kept that are open and have sent nothing.
 */
import type { SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import type { UnixPendingExt } from '../../../image/gen/sk-unix.ts';
import type { UnixDiag } from '../../../netlink/unix-diag.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { asksForSenders } from './queue.ts';
import { type Unaccepted, UnacceptedReader } from './unaccepted.ts';

/** What lets criu see more, for errors. */
export const ACCEPT_FIRST =
  'accept the connection first, or run criu with CAP_BPF and CAP_PERFMON on a kernel with /sys/kernel/btf/vmlinux, ' +
  'where it can see what waits';

/** The backlog of a listening socket in the order of accept(2). Adds what was sent to sk-queues.img. Throws CriuError. */
export function dumpBacklog(
  file: OpenFile,
  { pending }: UnixDiag,
  opts: SkOptsEntry,
  dump: KindDump,
): UnixPendingExt[] | Unsupported {
  if (pending.length === 0) return [];
  const connections = readerOf(dump)?.read(file.localFd);
  if (connections === undefined) return pending.map((peer) => ({ peer, groups: [] }));
  if (connections.length !== pending.length) {
    return { unsupported: 'somebody outside the tree connects to it just now', remedy: 'try again' };
  }
  const entries: UnixPendingExt[] = [];
  for (const [i, connection] of connections.entries()) {
    const problem = connection.problem ?? deadSender(connection, opts, dump);
    if (problem !== undefined) {
      const why = `a connection that nobody has accepted yet waits in it, and ${problem}`;
      return { unsupported: why, remedy: 'dump when it has been accepted' };
    }
    entries.push(addConnection(pending[i] ?? 0, connection, dump));
  }
  return entries;
}

/** Opened for the first backlog. */
function readerOf(dump: KindDump): UnacceptedReader | undefined {
  const { reader } = dump.state('unix backlogs', () => ({ reader: UnacceptedReader.tryOpen() }));
  if (dump.isFirst('unix backlogs')) for (const fd of reader?.fds ?? []) dump.closeAfterwards(fd);
  return reader;
}

/** Credentials can't be sent for a task that is dead; that matters when the receiver is going to get them. */
function deadSender({ messages }: Unaccepted, opts: SkOptsEntry, dump: KindDump): string | undefined {
  if (!asksForSenders(opts)) return undefined;
  const dead = messages.find(({ creds: { pid } }) => pid !== 0 && !dump.hasTask(pid));
  return dead === undefined
    ? undefined
    : `a message for it has credentials of task ${dead.creds.pid}, which is not in the tree`;
}

function addConnection(peer: number, { creds, groups, name, messages }: Unaccepted, dump: KindDump): UnixPendingExt {
  const id = dump.nextFileId();
  for (const message of messages) {
    const sender = dump.hasTask(message.creds.pid) ? { creds_ext: message.creds } : {};
    const { payload } = message;
    dump.addData('sk-queues', { message: { id_for: id, length: payload.length, scm: [], ...sender }, payload });
  }
  return { peer, id, creds, groups, ...(peer === 0 && name.length > 0 ? { name } : {}) };
}

/** Whether it is known what the connection has brought. */
export const isRead = (pending: UnixPendingExt | undefined): boolean => pending?.id !== undefined;
