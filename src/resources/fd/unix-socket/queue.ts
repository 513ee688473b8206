/**
 * What waits to be read from a UNIX socket. At dump it is looked at with MSG_PEEK, which moves on by SO_PEEK_OFF
 * (man 7 socket) and takes nothing out; the offset is put back afterwards.
 */
import type { ScmEntry, SkPacketEntry } from '../../../image/gen/sk-packet.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { SO_PEEK_OFF, SO_SNDBUF, SOCK_STREAM, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { addressOf, check, syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { getsockoptInt } from '../../../linux/syscalls/socket.ts';
import type { KindDump, OpenFile, RestoreContext, Unsupported } from '../file-kind.ts';

const MSG_PEEK = 2;
const MSG_CTRUNC = 8;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
export const SCM_RIGHTS = 1;

const MSGHDR_BYTES = 56;
/** SCM_MAX_FD (253) descriptors and credentials fit. */
const CONTROL_BYTES = 2048;
/** Datagrams can be as long as the send buffer of the sender; this is room for what its default (212992) allows. */
const ROOM_MIN = 256 * 1024;
const ROOM_MAX = 64 * 1024 * 1024;

/** Adds everything in the queue to sk-queues.img, or says why it cannot be kept. Throws SyscallError. */
export function dumpQueue(file: OpenFile, id: number, type: number, dump: KindDump): Unsupported | undefined {
  const fd = file.localFd;
  const offset = getsockoptInt(fd, SOL_SOCKET, SO_PEEK_OFF);
  setPeekOffset(fd, 0);
  try {
    return peekAll(file, id, type, dump);
  } finally {
    setPeekOffset(fd, offset);
  }
}

function setPeekOffset(fd: number, offset: number): void {
  check('setsockopt', syscall(SYS.setsockopt, fd, SOL_SOCKET, SO_PEEK_OFF, Int32Array.of(offset), 4), 'SO_PEEK_OFF');
}

function peekAll(file: OpenFile, id: number, type: number, dump: KindDump): Unsupported | undefined {
  const fd = file.localFd;
  let room = new Uint8Array(Math.max(ROOM_MIN, getsockoptInt(fd, SOL_SOCKET, SO_SNDBUF)));
  for (let read = 0; ; ) {
    const message = peek(fd, room);
    if (message.result === -ERRNO.EAGAIN) return undefined;
    if (message.result < 0) return { unsupported: `its queue cannot be read (${errnoName(-message.result)})` };
    const { result, flags, control } = message;
    if ((flags & MSG_TRUNC) !== 0 && type !== SOCK_STREAM) {
      if (room.length >= ROOM_MAX) return { unsupported: `a message in its queue is longer than ${ROOM_MAX} bytes` };
      for (const right of rightsIn(control)) close(right);
      room = new Uint8Array(room.length * 4);
      setPeekOffset(fd, read);
      continue;
    }
    const scm = dumpControl(control, flags, file, dump);
    if ('unsupported' in scm) return scm;
    // An end of file; an empty datagram looks the same.
    if (result === 0 && scm.length === 0) return undefined;
    read += result;
    dump.addData('sk-queues', { message: { id_for: id, length: result, scm }, payload: room.slice(0, result) });
    if (result === 0) return undefined;
  }
}

interface Peeked {
  /** Bytes, or −errno. */
  readonly result: number;
  readonly flags: number;
  readonly control: Uint8Array;
}

const controlRoom = new Uint8Array(CONTROL_BYTES);

function peek(fd: number, room: Uint8Array): Peeked {
  const vector = BigUint64Array.of(BigInt(addressOf(room)), BigInt(room.length));
  const header = new Uint8Array(MSGHDR_BYTES);
  const view = new DataView(header.buffer);
  view.setBigUint64(16, BigInt(addressOf(vector)), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, BigInt(addressOf(controlRoom)), true);
  view.setBigUint64(40, BigInt(CONTROL_BYTES), true);
  const result = syscall(SYS.recvmsg, fd, header, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
  const used = result < 0 ? 0 : Number(view.getBigUint64(40, true));
  // The array must stay alive until the kernel has used its address.
  const isAlive = vector.length === 2;
  return { result, flags: isAlive ? view.getInt32(48, true) : 0, control: controlRoom.slice(0, used) };
}

/** Control messages: level, type and payload each. */
function* controlMessages(control: Uint8Array): Iterable<{ level: number; type: number; payload: DataView }> {
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength);
  for (let at = 0; at + 16 <= control.length; ) {
    const length = Number(view.getBigUint64(at, true));
    if (length < 16 || at + length > control.length) return;
    const payload = new DataView(control.buffer, control.byteOffset + at + 16, length - 16);
    yield { level: view.getInt32(at + 8, true), type: view.getInt32(at + 12, true), payload };
    at += (length + 7) & ~7;
  }
}

/** A peek installs the descriptors that are in flight in our own table. */
function rightsIn(control: Uint8Array): number[] {
  const fds: number[] = [];
  for (const { level, type, payload } of controlMessages(control)) {
    if (level !== SOL_SOCKET || type !== SCM_RIGHTS) continue;
    for (let at = 0; at + 4 <= payload.byteLength; at += 4) fds.push(payload.getInt32(at, true));
  }
  return fds;
}

function dumpControl(control: Uint8Array, flags: number, file: OpenFile, dump: KindDump): ScmEntry[] | Unsupported {
  const fds = rightsIn(control);
  const isOther = [...controlMessages(control)].some(({ level, type }) => level !== SOL_SOCKET || type !== SCM_RIGHTS);
  if (isOther || (flags & MSG_CTRUNC) !== 0) {
    for (const fd of fds) close(fd);
    return {
      unsupported: 'messages in its queue carry credentials or times of their senders, which the image cannot hold',
      remedy: 'dump when the messages have been received',
    };
  }
  if (fds.length === 0) return [];
  const rights = fds.map((fd) => dump.registerInFlight(file.task, fd));
  if (!rights.every((right) => right !== undefined)) {
    return {
      unsupported: 'a message in its queue carries a descriptor (SCM_RIGHTS) that cannot be dumped',
      remedy: 'dump when the message has been received',
    };
  }
  return [{ type: SCM_RIGHTS, rights }];
}

/** A message of the image. */
export interface QueuedMessage {
  readonly message: SkPacketEntry;
  readonly payload: Uint8Array;
}

/** Messages in the queue of socket `id`, in order. */
export function queuedMessages(id: number, context: RestoreContext): readonly QueuedMessage[] {
  const all = context.state('sk-queues', () => {
    const queues = new Map<number, QueuedMessage[]>();
    for (const element of context.images.tryRead('sk-queues') ?? []) {
      const queue = queues.get(element.message.id_for);
      if (queue === undefined) queues.set(element.message.id_for, [element]);
      else queue.push(element);
    }
    return queues;
  });
  return all.get(id) ?? [];
}
