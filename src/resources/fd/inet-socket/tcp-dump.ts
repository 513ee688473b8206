/**
 * TCP connections of a tree: tcp-stream images.
 *
 * The network is locked for all of them at once, then they are read. That takes repair mode, in which the kernel gives out
 * numbers and queues, and once more when the tree has been killed, or left stopped: then closing a connection sends nothing.
 */
import { Program } from '../../../agent/program.ts';
import { SyscallError } from '../../../base/errors.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import type { ImageDir } from '../../../image/image-dir.ts';
import { imageFileName } from '../../../image/image-kinds.ts';
import { serializeImage } from '../../../image/serialize-image.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import { F_DUPFD_CLOEXEC } from '../../../linux/abi/fcntl.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close, fcntl } from '../../../linux/syscalls/fs.ts';
import { OwnCalls } from '../../../tracee/own-calls.ts';
import { SecondCore } from '../../../tracee/second-core.ts';
import { SmallImages } from '../../small-images.ts';
import { blocker } from '../fd-table/blocker.ts';
import type { KindDump, OpenFile, Unsupported } from '../file-kind.ts';
import { endsOf, keysOfEnds } from './address.ts';
import { TCP_KINDS } from './endpoint.ts';
import type { InetKind } from './inet-options.ts';
import { forgottenPorts } from './inspect-tcp.ts';
import { type Probed, probePeers } from './probe-peers.ts';
import { type InetOptions, InetReader } from './read-inet.ts';
import type { KnownSocket } from './sock-diag.ts';
import { describeStream } from './tcp-pairs.ts';
import { type Receiving, readReceiving, readSending, type Sending } from './tcp-stream.ts';

/** A TCP socket that waits until all of them are known. */
interface HeldSocket {
  readonly file: OpenFile;
  readonly kind: InetKind;
  /** What the kernel's list of sockets has of it. */
  readonly known: KnownSocket | undefined;
  readonly isConnected: boolean;
  /** Makes its entry with these options. */
  complete(options: InetOptions): InetSkEntry | Unsupported;
}

interface Held extends HeldSocket {
  /** A duplicate of ours. */
  readonly fd: number;
}

interface Connection extends Held {
  readonly entry: InetSkEntry;
}

const heldSockets = (dump: KindDump): Held[] => dump.state('TCP sockets', () => []);

interface Kept {
  /** The duplicates of connections, which are closed when the tree goes on, or does not. */
  readonly fds: number[];
  /** Of these: whose other sides may have said something that was dropped. */
  readonly deaf: Probed[];
}

const kept = (dump: KindDump): Kept =>
  dump.state('TCP connections', () => {
    const [fds, deaf]: [number[], Probed[]] = [[], []];
    dump.onRollback(() => {
      tryProbe(deaf, dump);
      for (const fd of fds) close(fd);
    });
    dump.onHandOver(() => closeSilently(fds));
    return { fds, deaf };
  });

function tryProbe(deaf: readonly Probed[], dump: KindDump): void {
  try {
    probePeers(deaf);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    dump.warn(`TCP connections that were ended during the dump may not notice it before they send: ${error.message}`);
  }
}

/** Closing a connection in repair mode says nothing to the other side. */
function closeSilently(fds: readonly number[]): void {
  const program = new Program();
  const [on, bytes] = [program.int(1), 4];
  for (const fd of fds) {
    program.call(SYS.setsockopt, fd, INET.SOL_TCP, INET.TCP_REPAIR, on, bytes);
    program.call(SYS.close, fd);
  }
  new OwnCalls(program).run();
}

/** Throws SyscallError. */
export function holdSocket(socket: HeldSocket, dump: KindDump): void {
  const fd = check('fcntl', fcntl(socket.file.localFd, F_DUPFD_CLOEXEC, 0), 'F_DUPFD_CLOEXEC');
  if (socket.isConnected && dump.options.tcpClose !== true) kept(dump).fds.push(fd);
  else dump.closeAfterwards(fd);
  heldSockets(dump).push({ ...socket, fd });
}

/** When all are known: completes their entries, locks the network, reads the connections, and adds their images. */
export function dumpHeldSockets(dump: KindDump): void {
  const connections = completeEntries(dump);
  if (connections.length > 0) saveConnections(connections, dump);
}

/** Reads the options of all TCP sockets. Returns the connections that are kept. */
function completeEntries(dump: KindDump): Connection[] {
  const sockets = heldSockets(dump);
  const connections: Connection[] = [];
  using core = SecondCore.tryStart(sockets.length);
  for (const kind of Object.values(TCP_KINDS)) {
    const alike = sockets.filter((socket) => socket.kind.family === kind.family);
    if (alike.length === 0) continue;
    const fds = alike.map(({ fd }) => fd);
    new InetReader(kind, fds.length, dump).readAll(
      fds,
      (index, options) => {
        const socket = alike[index];
        const entry = socket && tryComplete(socket, options, dump);
        if (entry !== undefined && socket?.isConnected && dump.options.tcpClose !== true)
          connections.push({ ...socket, entry });
      },
      core,
    );
  }
  return connections;
}

function tryComplete(
  { file, complete }: Held,
  readOptions: () => InetOptions | Unsupported,
  dump: KindDump,
): InetSkEntry | undefined {
  try {
    const options = readOptions();
    const entry = 'unsupported' in options ? options : complete(options);
    if (!('unsupported' in entry)) return entry;
    dump.addProblem(blocker(file, entry));
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    dump.addProblem({ object: file.object, action: 'cannot be inspected', cause: error });
  }
  return undefined;
}

function saveConnections(connections: readonly Connection[], dump: KindDump): void {
  const others = findOtherEnds(connections);
  const isLocked = lockNetwork(connections, (connection) => others.has(connection), dump);
  if (isLocked) kept(dump).deaf.push(...findDeaf(connections, others));
  refuseUrgent(connections, dump);
  const streams = tryReadAll(connections, dump);
  const described: DescribedStream[] = [];
  for (const connection of connections) {
    const stream = streams.get(connection);
    if (stream === undefined) continue;
    const { sent, received } = stream;
    const other = others.get(connection);
    const { message, payload } = describeStream(sent, received, other && streams.get(other)?.received);
    connection.entry.state = sent.numbers.state;
    if (sent.numbers.state === INET.TCP_CLOSE && hasError(connection.fd)) message.reset_ext = true;
    described.push({ ino: connection.entry.ino, message, payload });
  }
  dump.addLateImage((images) => writeStreams(described, images));
}

interface DescribedStream {
  readonly ino: number;
  readonly message: TcpStreamEntry;
  readonly payload: Uint8Array;
}

/** With what has been received and sent, most have less. */
const IMAGE_BYTES = 1024;
const INODE_MAX = 0xffff_ffff;

function writeStreams(streams: readonly DescribedStream[], images: ImageDir): void {
  const longestName = imageFileName('tcp-stream', INODE_MAX);
  using files = new SmallImages(images, { count: streams.length, longestName, bytes: IMAGE_BYTES });
  for (const { ino, message, payload } of streams) {
    const name = imageFileName('tcp-stream', ino);
    files.write(name, serializeImage('tcp-stream', [{ message, payload }], name));
  }
  files.finish();
}

/** The other ends of connections inside of the tree. */
function findOtherEnds(connections: readonly Connection[]): ReadonlyMap<Connection, Connection> {
  const byEnds = new Map<string, Connection>();
  const wanted: string[] = [];
  for (const connection of connections) {
    const [own, other] = keysOfEnds(connection.entry);
    byEnds.set(own, connection);
    wanted.push(other);
  }
  const others = new Map<Connection, Connection>();
  for (let i = 0; i < wanted.length; i++) {
    const [connection, other] = [connections[i], byEnds.get(wanted[i] ?? '')];
    if (connection !== undefined && other !== undefined) others.set(connection, other);
  }
  return others;
}

/** Those that may miss what other sides say; other ends in the tree are silent, unless they have been closed before. */
function findDeaf(connections: readonly Connection[], others: ReadonlyMap<Connection, Connection>): Probed[] {
  const isOpen = (one: Connection | undefined) => one?.entry.state === INET.TCP_ESTABLISHED;
  return connections
    .filter((one) => isOpen(one) && !isOpen(others.get(one)))
    .map(({ fd, entry }) => ({ fd, reuseAddress: entry.opts.reuseaddr === true }));
}

/** From now on no packet comes or goes: true when that holds. Both ends inside of the tree do without it. */
function lockNetwork(
  connections: readonly Connection[],
  isInside: (connection: Connection) => boolean,
  dump: KindDump,
): boolean {
  const { networkLock } = dump.options;
  if (networkLock === undefined) return false;
  const result =
    typeof networkLock === 'number' ? networkLock : networkLock.tryAdd(connections.map(({ entry }) => entry));
  if (result === 0) return true;
  const outside = connections.filter((one) => !isInside(one) && !forgottenPorts(dump).has(one.entry.dst_port));
  const why = `packets cannot be held back (nf_tables: ${errnoName(-result)})`;
  if (outside.length === 0) dump.warn(`TCP connections inside of the tree are dumped while ${why}`);
  for (const { file, entry } of outside) {
    const [from, to] = endsOf(entry);
    const remedy = 'if something else holds them back until the restore, use --network-lock skip';
    const subject = `the other end of this TCP connection (${from} to ${to}) is not in the tree, and its`;
    dump.addProblem({ object: file.object, action: 'cannot be dumped', why: `${subject} ${why}`, remedy });
  }
  return false;
}

const POLLPRI = 2;

/** An urgent byte is in no queue that can be read; all connections are asked at once. */
function refuseUrgent(connections: readonly Connection[], dump: KindDump): void {
  const pollfds = new Int32Array(2 * connections.length);
  for (const [i, { fd }] of connections.entries()) {
    pollfds[2 * i] = fd;
    pollfds[2 * i + 1] = POLLPRI;
  }
  if (syscall(SYS.poll, pollfds, connections.length, 0) <= 0) return;
  for (const [i, { file }] of connections.entries()) {
    if ((((pollfds[2 * i + 1] ?? 0) >>> 16) & POLLPRI) === 0) continue;
    const why = 'an urgent byte (MSG_OOB) waits in it, which cannot be put back';
    dump.addProblem({ object: file.object, action: 'cannot be dumped', why, remedy: 'dump when it has been received' });
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
  const readable = connections.map(({ fd, entry, known }) => {
    // In other states the end of the stream is counted, and an empty queue must not be looked at.
    const isKnown = known?.state === INET.TCP_ESTABLISHED;
    const [sendBytes, receiveBytes] = isKnown ? [known.wqueue, known.rqueue] : [undefined, undefined];
    return { fd, reuseAddress: entry.opts.reuseaddr === true, sendBytes, receiveBytes };
  });
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
    const object = connections.length === 1 && first !== undefined ? first.file.object : 'TCP connections of the tree';
    dump.addProblem({ object, action: 'cannot be dumped: they cannot be read in repair mode', cause: error });
    return new Map();
  }
}
