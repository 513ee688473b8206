/**
 * What waits to be read from a UNIX socket. At dump it is looked at with MSG_PEEK, which moves on by SO_PEEK_OFF
 * (man 7 socket) and takes nothing out; the offset is put back afterwards.
 */
import { DataRows } from '../../../image/data-rows.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import type { SkPacketEntry, SkUcredExt } from '../../../image/gen/sk-packet.ts';
import { isPaired } from '../../../image/open-files.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import {
  MSG_DONTWAIT,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  SO_PASSCRED,
  SO_PASSPIDFD,
  SO_PASSSEC,
  SO_PEEK_OFF,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import type { UnixDiag } from '../../../netlink/unix-diag.ts';
import { contextState } from '../context-state.ts';
import { withoutOwner } from '../data-owner.ts';
import type { KindDump, OpenFile, RestoreContext, Unsupported } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import { controlMessages, peekMessage } from '../peek-message.ts';

const MSG_CTRUNC = 8;
export const SCM_RIGHTS = 1;
export const SCM_CREDENTIALS = 2;

/** Datagrams can be as long as the send buffer of the sender; this is room for more than its default (212992) allows. */
const ROOM_MIN = 256 * 1024;
const ROOM_MAX = 64 * 1024 * 1024;

/** A socket whose queue is dumped. */
export interface QueueOwner {
  readonly file: OpenFile;
  readonly id: number;
  readonly socket: UnixDiag;
  readonly opts: SkOptsEntry;
}

/**
 * Adds everything in the queue to sk-queues.img, or says why it cannot be kept. Throws SyscallError. While it looks, the
 * socket asks for credentials if it asks for them in any form.
 */
export function dumpQueue(owner: QueueOwner, dump: KindDump): Unsupported | undefined {
  const fd = owner.file.localFd;
  const asked = optionsAsked(owner.opts);
  const offset = readOffset(owner.opts);
  if (asked.length === 0 && offset < 0 && dumpStream(owner, dump)) return undefined;
  if (hasUrgent(owner)) {
    const remedy = 'dump when it has been received';
    return { unsupported: 'an urgent byte (MSG_OOB) waits in it, whose place cannot be seen', remedy };
  }
  for (const option of asked) setOption(fd, option, 0);
  if (asked.length > 0) setOption(fd, SO_PASSCRED, 1);
  setOption(fd, SO_PEEK_OFF, 0);
  try {
    return peekAll(owner, dump);
  } finally {
    setOption(fd, SO_PEEK_OFF, offset);
    if (asked.length > 0) setOption(fd, SO_PASSCRED, 0);
    for (const option of asked) setOption(fd, option, 1);
  }
}

/** The options that ask for credentials and the like, of those that are on. */
function optionsAsked({ so_passcred, so_passsec, options_ext }: SkOptsEntry): number[] {
  const asked = [];
  if (so_passcred === true) asked.push(SO_PASSCRED);
  if (so_passsec === true) asked.push(SO_PASSSEC);
  if (options_ext.some(({ option }) => option === SO_PASSPIDFD)) asked.push(SO_PASSPIDFD);
  return asked;
}

/** Whether those who accept connections of such a socket get the senders of messages with them. */
export const asksForSenders = (opts: SkOptsEntry): boolean => optionsAsked(opts).length > 0;

function readOffset({ options_ext }: SkOptsEntry): number {
  const value = options_ext.find(({ option }) => option === SO_PEEK_OFF)?.value;
  return value === undefined ? NO_OFFSET : new DataView(value.buffer, value.byteOffset).getInt32(0, true);
}

const NO_OFFSET = -1;

/** Room for a peek, shared by all sockets of a dump: clearing it for each would take longer than the peek. */
const roomOf = (dump: KindDump): { bytes: Uint8Array } =>
  dump.state('unix queues', () => ({ bytes: new Uint8Array(ROOM_MIN) }));

/** The usual case: a stream of nothing but bytes is seen by one look. */
function dumpStream({ file, id, socket }: QueueOwner, dump: KindDump): boolean {
  const { type, receiveQueue, peer } = socket;
  const room = roomOf(dump).bytes;
  if (type !== SOCK_STREAM || peer === 0 || receiveQueue >= room.length) return false;
  const { result, control } = peekMessage(file.localFd, room);
  if (result === receiveQueue && control.length === 0) {
    const message = { id_for: id, length: result, scm: [] };
    dump.addData('sk-queues', { message, payload: room.slice(0, result) });
    return true;
  }
  for (const right of rightsIn(control)) close(right);
  return false;
}

/** A look from the begin ends at an urgent byte, so that this is no usual case. */
function hasUrgent({ file, socket }: QueueOwner): boolean {
  if (socket.type !== SOCK_STREAM) return false;
  return syscall(SYS.recvfrom, file.localFd, new Uint8Array(1), 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT, 0, 0) > 0;
}

function setOption(fd: number, option: number, value: number): void {
  check('setsockopt', syscall(SYS.setsockopt, fd, SOL_SOCKET, option, Int32Array.of(value), 4), `option ${option}`);
}

/** More empty messages than this at the end of a socket that is shut down are taken for its end of file. */
const EMPTY_MAX = 3;

function peekAll({ file, id, socket }: QueueOwner, dump: KindDump): Unsupported | undefined {
  const { type, peer } = socket;
  const isStream = type === SOCK_STREAM;
  const canEnd = isStream || (socket.shutdown & RCV_SHUTDOWN) !== 0;
  const empty: SkPacketEntry[] = [];
  const fd = file.localFd;
  const shared = roomOf(dump);
  for (let read = 0; ; ) {
    const room = shared.bytes;
    const message = peekMessage(fd, room);
    if (message.result === -ERRNO.EAGAIN) {
      // Nothing ends here, so these were messages.
      for (const entry of canEnd ? [] : empty) dump.addData('sk-queues', { message: entry, payload: NOTHING });
      return undefined;
    }
    if (message.result < 0) return { unsupported: `its queue cannot be read (${errnoName(-message.result)})` };
    const { result, flags, control } = message;
    if ((flags & MSG_TRUNC) !== 0 && !isStream) {
      if (room.length >= ROOM_MAX) return { unsupported: `a message in its queue is longer than ${ROOM_MAX} bytes` };
      for (const right of rightsIn(control)) close(right);
      shared.bytes = new Uint8Array(room.length * 4);
      setOption(fd, SO_PEEK_OFF, read);
      continue;
    }
    // What is in flight may be a socket with a queue of its own, which needs the room.
    const payload = room.slice(0, Math.max(result, 0));
    const carried = dumpControl(control, flags, file, dump);
    if ('unsupported' in carried) return carried;
    const entry: SkPacketEntry = { id_for: id, length: result, ...carried };
    for (const { rights } of carried.scm) rightsOf(dump).set(id, [...(rightsOf(dump).get(id) ?? []), ...rights]);
    // The name of a peer that is there comes from the peer.
    const sender = type === SOCK_DGRAM || peer === 0 ? message.sender.subarray(FAMILY_BYTES) : NOTHING;
    if (sender.length > 0) entry.sender_ext = sender;
    if (sender.length > 0) sendersOf(dump).push({ object: file.object, name: sender });
    if (result === 0 && carried.scm.length === 0 && sender.length === 0) {
      // An end of file, or an empty datagram: what comes next tells.
      if (isStream || (empty.length === EMPTY_MAX && canEnd)) return undefined;
      empty.push(entry);
      continue;
    }
    read += result;
    for (const before of empty.splice(0)) dump.addData('sk-queues', { message: before, payload: NOTHING });
    dump.addData('sk-queues', { message: entry, payload });
    if (result === 0 && isStream) return undefined;
  }
}

const NOTHING = new Uint8Array(0);
/** struct sockaddr_un before sun_path. */
const FAMILY_BYTES = 2;
const RCV_SHUTDOWN = 1;

/** The senders of datagrams that have names, with the object that has received them. */
export const sendersOf = (dump: KindDump): { readonly object: string; readonly name: Uint8Array }[] =>
  dump.state('unix senders', () => []);

/** Ids of files in flight, by the socket that they wait in. */
export const rightsOf = (dump: KindDump): Map<number, number[]> =>
  dump.state('unix rights', () => new Map<number, number[]>());

/** A peek installs the descriptors that are in flight in our own table. */
function rightsIn(control: Uint8Array): number[] {
  const fds: number[] = [];
  for (const { level, type, payload } of controlMessages(control)) {
    if (level !== SOL_SOCKET || type !== SCM_RIGHTS) continue;
    for (let at = 0; at + 4 <= payload.byteLength; at += 4) fds.push(payload.getInt32(at, true));
  }
  return fds;
}

type Carried = Pick<SkPacketEntry, 'scm' | 'creds_ext'>;

/** What else may be in control messages: times of receipt, which are new after a restore anyway. */
const TIMES: readonly number[] = [29, 35, 37, 63, 64, 65];

function dumpControl(control: Uint8Array, flags: number, file: OpenFile, dump: KindDump): Carried | Unsupported {
  const fds = rightsIn(control);
  const creds = credentialsIn(control);
  const isOther = [...controlMessages(control)].some(
    ({ level, type }) =>
      level !== SOL_SOCKET || (type !== SCM_RIGHTS && type !== SCM_CREDENTIALS && !TIMES.includes(type)),
  );
  const isDead = creds !== undefined && creds.pid !== 0 && !dump.hasTask(creds.pid);
  if (isOther || isDead || (flags & MSG_CTRUNC) !== 0) {
    for (const fd of fds) close(fd);
    return {
      unsupported: isDead
        ? `a message in its queue has credentials of task ${creds.pid}, which is not in the tree`
        : 'messages in its queue carry something else than descriptors and credentials',
      remedy: 'dump when the messages have been received',
    };
  }
  const creds_ext = creds === undefined || creds.pid === 0 ? {} : { creds_ext: creds };
  if (fds.length === 0) return { scm: [], ...creds_ext };
  const rights = fds.map((fd) => dump.registerInFlight(file.task, fd));
  if (!rights.every((right) => right !== undefined)) {
    return {
      unsupported: 'a message in its queue carries a descriptor (SCM_RIGHTS) that cannot be dumped',
      remedy: 'dump when the message has been received',
    };
  }
  return { scm: [{ type: SCM_RIGHTS, rights }], ...creds_ext };
}

/** struct ucred; pid 0 when the sender gave none. */
function credentialsIn(control: Uint8Array): SkUcredExt | undefined {
  for (const { level, type, payload } of controlMessages(control)) {
    if (level !== SOL_SOCKET || type !== SCM_CREDENTIALS || payload.byteLength < 12) continue;
    return { pid: payload.getInt32(0, true), uid: payload.getUint32(4, true), gid: payload.getUint32(8, true) };
  }
  return undefined;
}

/** A message of the image. */
export interface QueuedMessage {
  readonly message: SkPacketEntry;
  readonly payload: Uint8Array;
}

/** Messages in the queue of socket `id`, or sent to the pending connection of that id, in order. */
export function queuedMessages(id: number, context: RestoreContext): readonly QueuedMessage[] {
  return queues(context).get(id) ?? NO_MESSAGES;
}

/** All of sk-queues.img. */
export const queueRows = contextState('sk-queues rows', ({ images }) => DataRows.read('sk-queues', images));

/** Those of sockets that are entries. */
const queues = contextState('sk-queues', (context) => {
  const queues = new Map<number, QueuedMessage[]>();
  const { files } = context.tree;
  // What was sent to connections that nobody has accepted has no socket with a descriptor.
  const pending = new Set<number | undefined>();
  for (const { usk } of filesOfType(files, FdTypes.UNIXSK))
    for (const { id } of usk?.pending_ext ?? []) pending.add(id);
  const rows = queueRows(context);
  for (let row = 0; row < rows.count; row++) {
    const isOther = rows.others.has(row);
    if (!isOther && isPaired(files, rows.owners[row] as number)) continue;
    const element: QueuedMessage = rows.element(row);
    const { id_for } = element.message;
    if (!files.has(id_for) && !pending.has(id_for)) throw withoutOwner('sk-queues', row, 'id_for', id_for);
    const queue = queues.get(id_for);
    if (queue === undefined) queues.set(id_for, [element]);
    else queue.push(element);
  }
  return queues;
});

const NO_MESSAGES: readonly QueuedMessage[] = [];
