/**
 * Established TCP connections of a tree: tcp-stream images.
 *
 * All of them are put into repair mode first: then closing one sends nothing, and the kernel gives out its numbers.
 * Only connections between sockets of the tree are safe without holding back packets from others, who would be told
 * that nobody is there.
 */
import { type CriuErrorFields, SyscallError } from '../../../base/errors.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { F_DUPFD_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { SO_REUSEADDR, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close, fcntl } from '../../../linux/syscalls/fs.ts';
import type { KindDump, OpenFile } from '../file-kind.ts';
import { endsOf } from './address.ts';
import { describeStream } from './tcp-pairs.ts';
import { readReceiving, readSending, setTcpOption } from './tcp-stream.ts';

interface Connection {
  readonly entry: InetSkEntry;
  /** A duplicate of ours. */
  readonly fd: number;
  readonly object: string;
}

const connectionsOf = (dump: KindDump): Connection[] => dump.state('TCP connections', () => []);

/** Ports of the tree where connections wait that --skip-in-flight lets go: their other ends have nobody to wait for. */
export const forgottenPorts = (dump: KindDump): Set<number> => dump.state('forgotten ports', () => new Set());

/** Puts the connection into repair mode until the tree is gone or goes on. Throws SyscallError. */
export function holdConnection(file: OpenFile, entry: InetSkEntry, dump: KindDump): void {
  const fd = check('fcntl', fcntl(file.localFd, F_DUPFD_CLOEXEC, 0), 'F_DUPFD_CLOEXEC');
  dump.onRollback(() => close(fd));
  setTcpOption(fd, INET.TCP_REPAIR, 1);
  dump.onRollback(() => {
    setTcpOption(fd, INET.TCP_REPAIR, 0);
    // Leaving repair mode clears it.
    if (entry.opts.reuseaddr === true) syscall(SYS.setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, Int32Array.of(1), 4);
  });
  connectionsOf(dump).push({ entry, fd, object: file.object });
}

/** When all are held: reads them, and adds their images. */
export function saveConnections(dump: KindDump): void {
  const connections = connectionsOf(dump);
  const byEnds = new Map(connections.map((connection) => [endsOf(connection.entry).join(' '), connection]));
  const otherEnd = ({ entry }: Connection) => byEnds.get(endsOf(entry).reverse().join(' '));
  if (dump.options.networkLock !== 'skip') {
    for (const connection of connections) {
      const isForgotten = forgottenPorts(dump).has(connection.entry.dst_port);
      if (otherEnd(connection) === undefined && !isForgotten) dump.addProblem(outside(connection));
    }
  }
  // In this order: bytes that arrive in between are on both sides, and none is on neither.
  const sending = new Map(connections.map((one) => [one, attempt(one, dump, readSending)]));
  const receiving = new Map(connections.map((one) => [one, attempt(one, dump, readReceiving)]));
  for (const connection of connections) {
    const [sent, received] = [sending.get(connection), receiving.get(connection)];
    if (sent === undefined || received === undefined) continue;
    const other = otherEnd(connection);
    const { message, payload } = describeStream(sent, received, other && receiving.get(other));
    dump.addImage((images) => images.write('tcp-stream', connection.entry.ino, [{ message, payload }]));
  }
}

function attempt<T>({ fd, object }: Connection, dump: KindDump, action: (fd: number) => T): T | undefined {
  try {
    return action(fd);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    dump.addProblem({ object, action: 'cannot be dumped: this TCP connection cannot be read', cause: error });
    return undefined;
  }
}

function outside({ object, entry }: Connection): CriuErrorFields {
  const [from, to] = endsOf(entry);
  return {
    object,
    action: 'cannot be dumped',
    why: `the other end of this TCP connection (${from} to ${to}) is not in the tree, and its packets cannot be held back yet`,
    remedy: 'close the connection, or let its other end find nobody until the restore: --network-lock skip',
  };
}
