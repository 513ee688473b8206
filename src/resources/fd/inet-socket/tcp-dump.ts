/**
 * TCP connections of a tree: tcp-stream images.
 *
 * The network is locked for all of them at once, then they are read. That takes repair mode, in which the kernel gives out
 * numbers and queues, and once more when the tree has been killed, or left stopped: then closing a connection sends nothing.
 */
import { SyscallError } from '../../../base/errors.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { F_DUPFD_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close, fcntl } from '../../../linux/syscalls/fs.ts';
import type { KindDump, OpenFile } from '../file-kind.ts';
import { endsOf } from './address.ts';
import { describeStream } from './tcp-pairs.ts';
import { type Receiving, readReceiving, readSending, type Sending } from './tcp-stream.ts';

interface Connection {
  readonly entry: InetSkEntry;
  /** A duplicate of ours. */
  readonly fd: number;
  readonly object: string;
}

const connectionsOf = (dump: KindDump): Connection[] => dump.state('TCP connections', () => []);

/** Ports of the tree where connections wait that --skip-in-flight lets go: their other ends have nobody to wait for. */
export const forgottenPorts = (dump: KindDump): Set<number> => dump.state('forgotten ports', () => new Set());

/** Keeps the connection until all are known. Throws SyscallError. */
export function holdConnection(file: OpenFile, entry: InetSkEntry, dump: KindDump): void {
  const fd = check('fcntl', fcntl(file.localFd, F_DUPFD_CLOEXEC, 0), 'F_DUPFD_CLOEXEC');
  dump.onRollback(() => close(fd));
  dump.onHandOver(() => {
    syscall(SYS.setsockopt, fd, INET.SOL_TCP, INET.TCP_REPAIR, Int32Array.of(1), 4);
    close(fd);
  });
  connectionsOf(dump).push({ entry, fd, object: file.object });
}

/** When all are known: locks the network, reads them, and adds their images. */
export function saveConnections(dump: KindDump): void {
  const connections = connectionsOf(dump);
  if (connections.length === 0) return;
  const others = findOtherEnds(connections);
  lockNetwork(connections, (connection) => others.has(connection), dump);
  refuseUrgent(connections, dump);
  const streams = tryReadAll(connections, dump);
  for (const connection of connections) {
    const stream = streams.get(connection);
    if (stream === undefined) continue;
    const { sent, received } = stream;
    const other = others.get(connection);
    const { message, payload } = describeStream(sent, received, other && streams.get(other)?.received);
    connection.entry.state = sent.numbers.state;
    if (sent.numbers.state === INET.TCP_CLOSE && hasError(connection.fd)) message.reset_ext = true;
    dump.addImage((images) => images.write('tcp-stream', connection.entry.ino, [{ message, payload }]));
  }
}

/** The other ends of connections inside of the tree. */
function findOtherEnds(connections: readonly Connection[]): ReadonlyMap<Connection, Connection> {
  const byEnds = new Map<string, Connection>();
  const wanted = connections.map((connection) => {
    const [own, other] = endsOf(connection.entry);
    byEnds.set(`${own} ${other}`, connection);
    return `${other} ${own}`;
  });
  const others = new Map<Connection, Connection>();
  connections.forEach((connection, i) => {
    const other = byEnds.get(wanted[i] ?? '');
    if (other !== undefined) others.set(connection, other);
  });
  return others;
}

/** From now on no packet comes or goes. Both ends inside of the tree do without it. */
function lockNetwork(
  connections: readonly Connection[],
  isInside: (connection: Connection) => boolean,
  dump: KindDump,
): void {
  const { networkLock } = dump.options;
  if (networkLock === undefined) return;
  const result =
    typeof networkLock === 'number' ? networkLock : networkLock.tryAdd(connections.map(({ entry }) => entry));
  if (result === 0) return;
  const why = `packets cannot be held back (nf_tables: ${errnoName(-result)})`;
  const outside = connections.filter((one) => !isInside(one) && !forgottenPorts(dump).has(one.entry.dst_port));
  if (outside.length === 0) dump.warn(`TCP connections inside of the tree are dumped while ${why}`);
  for (const { object, entry } of outside) {
    const [from, to] = endsOf(entry);
    const remedy = 'if something else holds them back until the restore, use --network-lock skip';
    const subject = `the other end of this TCP connection (${from} to ${to}) is not in the tree, and its`;
    dump.addProblem({ object, action: 'cannot be dumped', why: `${subject} ${why}`, remedy });
  }
}

const POLLPRI = 2;

/** An urgent byte is in no queue that can be read; all connections are asked at once. */
function refuseUrgent(connections: readonly Connection[], dump: KindDump): void {
  const pollfds = Int32Array.from(connections.flatMap(({ fd }) => [fd, POLLPRI]));
  if (syscall(SYS.poll, pollfds, connections.length, 0) <= 0) return;
  for (const [i, { object }] of connections.entries()) {
    if ((((pollfds[2 * i + 1] ?? 0) >>> 16) & POLLPRI) === 0) continue;
    const why = 'an urgent byte (MSG_OOB) waits in it, which cannot be put back';
    dump.addProblem({ object, action: 'cannot be dumped', why, remedy: 'dump when it has been received' });
  }
}

const POLLERR = 8;

/** Whether the program is to be told an error. To ask which one would take it away. */
function hasError(fd: number): boolean {
  const pollfd = Int32Array.of(fd, 0);
  return syscall(SYS.poll, pollfd, 1, 0) === 1 && (((pollfd[1] ?? 0) >>> 16) & POLLERR) !== 0;
}

interface Stream {
  readonly sent: Sending;
  readonly received: Receiving;
}

function tryReadAll(connections: readonly Connection[], dump: KindDump): ReadonlyMap<Connection, Stream> {
  const readable = connections.map(({ fd, entry }) => ({ fd, reuseAddress: entry.opts.reuseaddr === true }));
  try {
    // In this order: bytes that arrive in between are on both sides, and none is on neither.
    const sending = readSending(readable);
    const receiving = readReceiving(readable);
    const streams = new Map<Connection, Stream>();
    connections.forEach((connection, i) => {
      const [sent, received] = [sending[i], receiving[i]];
      if (sent !== undefined && received !== undefined) streams.set(connection, { sent, received });
    });
    return streams;
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    const [first] = connections;
    const object = connections.length === 1 && first !== undefined ? first.object : 'TCP connections of the tree';
    dump.addProblem({ object, action: 'cannot be dumped: they cannot be read in repair mode', cause: error });
    return new Map();
  }
}
