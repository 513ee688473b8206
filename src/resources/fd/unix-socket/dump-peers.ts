/** The other ends of the sockets of a tree: in the tree, waiting to be accepted, gone, or outside. */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import { SkShutdown } from '../../../image/gen/sk-opts.ts';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { SOCK_DGRAM } from '../../../linux/abi/socket.ts';
import { tryListDirectory, tryReadFile, tryReadlink } from '../../../linux/syscalls/fs.ts';
import type { UnixDiag } from '../../../netlink/unix-diag.ts';
import { NO_OWNER } from '../fd-table/open-file.ts';
import type { KindDump, OpenFile } from '../file-kind.ts';
import { ACCEPT_FIRST, isRead } from './dump-backlog.ts';
import { findCircle } from './in-flight.ts';
import type { KernelSockets } from './kernel-sockets.ts';
import { isPath, showName } from './name.ts';
import { rightsOf, sendersOf } from './queue.ts';
import { TCP_ESTABLISHED, TCP_LISTEN, USK_EXTERN, USK_SERVICE } from './states.ts';

interface Dumped {
  /** What errors call it. */
  readonly file: Pick<OpenFile, 'object'>;
  readonly task: FrozenTask;
  readonly entry: UnixSkEntry;
  readonly socket: UnixDiag;
}

/** The sockets dumped so far. */
class DumpedSockets {
  readonly byInode = new Map<number, Dumped>();
  /** Sockets of the tree that have a problem of their own. */
  readonly failed = new Set<number>();
  /** Their places in files.img. */
  readonly #places: FileEntry[] = [];

  /** The element for files.img. */
  add(file: OpenFile, entry: UnixSkEntry, socket: UnixDiag): FileEntry {
    this.byInode.set(entry.ino, { file, task: file.task, entry, socket });
    return this.addPlace(entry);
  }

  addPlace(usk: UnixSkEntry): FileEntry {
    const place = { type: FdTypes.UNIXSK, id: usk.id, usk };
    this.#places.push(place);
    return place;
  }

  /** CRIU finds the peer of a socket only when that comes before it in files.img, or is connected to it too. */
  sort(): void {
    const entries: UnixSkEntry[] = [];
    for (const { usk } of this.#places) if (usk !== undefined) entries.push(usk);
    const ordered = peersFirst(entries);
    for (let i = 0; i < ordered.length; i++) {
      const place = this.#places[i];
      const usk = ordered[i];
      if (place === undefined || usk === undefined) continue;
      place.id = usk.id;
      place.usk = usk;
    }
  }
}

/** The same sockets, each behind the one it is connected to. */
export function peersFirst(entries: readonly UnixSkEntry[]): UnixSkEntry[] {
  const byInode = new Map<number, UnixSkEntry>();
  for (const entry of entries) byInode.set(entry.ino, entry);
  // What is in the list, or in the chain that is being walked.
  const seen = new Set<UnixSkEntry>();
  const ordered: UnixSkEntry[] = [];
  const chain: UnixSkEntry[] = [];
  for (const entry of entries) {
    let next: UnixSkEntry | undefined = entry;
    while (next !== undefined && !seen.has(next)) {
      seen.add(next);
      chain.push(next);
      next = byInode.get(next.peer);
    }
    for (let last = chain.pop(); last !== undefined; last = chain.pop()) ordered.push(last);
  }
  return ordered;
}

export const peersOf = (dump: KindDump): DumpedSockets => dump.state('unix peers', () => new DumpedSockets());

/** When all sockets are known: completes entries that concern two of them; adds what is outside, or a problem. */
export function dumpPeers(dump: KindDump, kernel: (dump: KindDump) => KernelSockets): void {
  const { byInode, failed } = peersOf(dump);
  for (const dumped of byInode.values()) {
    const { entry, socket } = dumped;
    if (entry.uflags === USK_SERVICE) continue;
    const problem =
      socket.peer !== 0
        ? checkPeer(dumped, byInode, dump, kernel(dump))
        : entry.state === TCP_LISTEN
          ? checkPending(dumped, (ino) => byInode.has(ino) || failed.has(ino), kernel(dump))
          : entry.state === TCP_ESTABLISHED && entry.type !== SOCK_DGRAM
            ? checkPeerless(dumped, byInode, (ino) => byInode.has(ino) || failed.has(ino), kernel(dump))
            : undefined;
    if (problem === undefined) continue;
    const [why, remedy] = problem;
    const fields: CriuErrorFields = { object: dumped.file.object, action: 'cannot be dumped', why };
    dump.addProblem(remedy === undefined ? fields : { ...fields, remedy });
  }
  checkSenders(dump, (ino) => byInode.has(ino), kernel);
  checkCircles(dump);
  peersOf(dump).sort();
}

/** An abstract name that somebody outside has cannot be had by a sender for a while. */
function checkSenders(
  dump: KindDump,
  isInTree: (ino: number) => boolean,
  kernel: (dump: KindDump) => KernelSockets,
): void {
  for (const { object, name } of sendersOf(dump)) {
    if (isPath(name)) continue;
    const ino = kernel(dump).findByName(name);
    if (ino === undefined || isInTree(ino)) continue;
    const why = `a message of ${showName(name)} waits in it, which is outside the tree, ${holderOf(ino)}`;
    dump.addProblem({ object, action: 'cannot be dumped', why, remedy: 'dump when the message has been received' });
  }
}

function checkCircles(dump: KindDump): void {
  const rights = rightsOf(dump);
  if (rights.size === 0) return;
  const { byInode } = peersOf(dump);
  const entries = [...byInode.values()].map(({ entry }) => entry);
  const first = findCircle(entries, (id) => rights.get(id) ?? []);
  if (first === undefined) return;
  dump.addProblem({
    object: byInode.get(first.ino)?.file.object ?? `socket:[${first.ino}]`,
    action: 'cannot be dumped',
    why: 'sockets in flight wait to be received from each other: none of them could be made first',
    remedy: 'dump when the messages have been received',
  });
}

/** Why, and perhaps what to do. */
type Problem = readonly [string, string?] | undefined;
type ByInode = ReadonlyMap<number, Dumped>;

function checkPeer({ entry }: Dumped, byInode: ByInode, dump: KindDump, kernel: KernelSockets): Problem {
  if (peersOf(dump).failed.has(entry.peer)) return undefined;
  const inTree = byInode.get(entry.peer);
  if (inTree !== undefined) {
    const { peer, name } = inTree.entry;
    if (peer === entry.ino || name.length > 0 || peer === 0) return undefined;
    return [`its peer ${inTree.file.object} has no name and is connected to another socket meanwhile`];
  }
  if (dump.options.externalUnixInodes?.has(entry.ino)) return undefined;
  const peer = kernel.get(entry.peer);
  const isReachable = peer !== undefined && peer.type === SOCK_DGRAM && peer.name.length > 0;
  if (isReachable && dump.options.externalUnixSockets === true) {
    if (dump.isFirst(`unix external ${peer.ino}`)) addExternal(peer, dump);
    return undefined;
  }
  const who = holderOf(entry.peer);
  const other = peer === undefined ? '' : ` (${showName(peer.name)})`;
  const why = `its peer socket:[${entry.peer}]${other} is outside the tree, ${who}`;
  if (isReachable) return [why, 'give --ext-unix-sk to connect to it again at restore'];
  return [
    why,
    'dump the tree that has both ends, close it, or give ' +
      `--external unix[${entry.ino}] here and --inherit-fd fd[N]:socket:[${entry.ino}] at restore`,
  ];
}

function holderOf(ino: number): string {
  const link = `socket:[${ino}]`;
  const pids = tryListDirectory('/proc');
  for (const pid of typeof pids === 'number' ? [] : pids) {
    if (!/^\d+$/.test(pid)) continue;
    const fds = tryListDirectory(`/proc/${pid}/fd`);
    const fd = typeof fds === 'number' ? undefined : fds.find((n) => tryReadlink(`/proc/${pid}/fd/${n}`) === link);
    if (fd === undefined) continue;
    const comm = tryReadFile(`/proc/${pid}/comm`);
    return `fd ${fd} of task ${pid} '${typeof comm === 'string' ? comm.trimEnd() : '?'}'`;
  }
  return 'and no task that criu can see has it open (it may be in flight)';
}

/** The entry that says how to reach a socket outside. */
function addExternal(peer: UnixDiag, dump: KindDump): void {
  const id = dump.nextFileId();
  const usk: UnixSkEntry = {
    id,
    ino: peer.ino,
    type: SOCK_DGRAM,
    state: TCP_LISTEN,
    flags: 0,
    uflags: USK_EXTERN,
    backlog: 0,
    peer: 0,
    fown: NO_OWNER,
    opts: noOptions(),
    name: peer.name,
    pending_ext: [],
    peer_groups_ext: [],
  };
  dump.addEntry(peersOf(dump).addPlace(usk));
}

/** What an entry has to have, for a socket of which nothing is known. */
export const noOptions = (): SkOptsEntry => ({
  so_sndbuf: 0,
  so_rcvbuf: 0,
  so_snd_tmo_sec: 0,
  so_snd_tmo_usec: 0,
  so_rcv_tmo_sec: 0,
  so_rcv_tmo_usec: 0,
  so_filter: [],
  options_ext: [],
});

/** Connections that wait in the backlog of a listening socket. */
function checkPending({ entry, socket }: Dumped, isInTree: (ino: number) => boolean, kernel: KernelSockets): Problem {
  for (const [i, ino] of socket.pending.entries()) {
    if (ino === 0) {
      if (isRead(entry.pending_ext[i])) continue;
      return ['a connection in its backlog was closed by the other side before it was accepted', ACCEPT_FIRST];
    }
    if (isInTree(ino)) continue;
    const peer = kernel.get(ino);
    const name = peer === undefined ? '' : ` (${showName(peer.name)})`;
    const why = `socket:[${ino}]${name} outside the tree, ${holderOf(ino)}, waits to be accepted by it`;
    return [why, 'accept the connection first, or dump a tree that has both'];
  }
  return undefined;
}

/** A connected socket whose other end has no descriptor: it waits to be accepted, or is closed. */
function checkPeerless(
  { entry, socket, task }: Dumped,
  byInode: ByInode,
  isInTree: (ino: number) => boolean,
  kernel: KernelSockets,
): Problem {
  const listener = kernel.listenerOf(entry.ino);
  if (listener === undefined) {
    if (entry.shutdown === SkShutdown.BOTH) return undefined;
    return ['it is connected, and its peer has no descriptor (it may be in flight)'];
  }
  if (!isInTree(listener.ino)) {
    const why =
      `it waits to be accepted by socket:[${listener.ino}] (${showName(listener.name)}) outside the tree, ` +
      holderOf(listener.ino);
    return [why, 'wait until the connection is accepted, or dump a tree that has both'];
  }
  entry.peer = listener.ino;
  delete entry.peer_cred_ext;
  entry.peer_groups_ext = [];
  if (isRead(byInode.get(listener.ino)?.entry.pending_ext.find(({ peer }) => peer === entry.ino))) return undefined;
  if (socket.sendQueue !== 0) {
    return ['it waits to be accepted and has sent something, which criu may not read', ACCEPT_FIRST];
  }
  // Nobody can ask yet who connected: it was most likely the task.
  const [, uid] = task.leader.status.uid;
  const [, gid] = task.leader.status.gid;
  entry.peer_cred_ext = { pid: task.pid, uid, gid };
  entry.peer_groups_ext = [...task.leader.status.groups];
  return undefined;
}
