/** Steps that send again what waited in the queues of UNIX sockets, by senders with the right names and credentials. */
import { byteString, bytesOf } from '../../../base/bytes.ts';
import { CriuError } from '../../../base/errors.ts';
import type { SkUcredExt } from '../../../image/gen/sk-packet.ts';
import type { UnixPendingExt, UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { MSG_DONTWAIT, MSG_NOSIGNAL, SO_SNDBUFFORCE, SOCK_DGRAM, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { RestoreContext } from '../file-kind.ts';
import { planIntOption } from '../socket-options/plan-option.ts';
import type { StepArg } from '../step-args.ts';
import { socketKey } from './check.ts';
import { showName, socketAddress } from './name.ts';
import { type QueuedMessage, queuedMessages, SCM_CREDENTIALS, SCM_RIGHTS } from './queue.ts';
import type { SocketGroup } from './socket-group.ts';

const CMSG_HEADER_BYTES = 16;
/** More than the kernel takes for a message beside its bytes, the sizes of which are rounded up (SKB_TRUESIZE). */
const MESSAGE_OVERHEAD = 2048;
/** Enough for all that can be queued; the real size is set at the end. */
const BIG_BUFFER = 1 << 29;

export const SEND_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL;

/** What a message of so many bytes takes, with what the kernel adds to it. */
export const bytesInQueue = (length: number): number => 2 * length + MESSAGE_OVERHEAD;

/** Whether the buffer of a new socket is enough for messages that take so much. */
export const hasRoomFor = (bytes: number, { system }: RestoreContext): boolean =>
  bytes < (system.socketBuffers()?.sendBytes ?? 0) / 2;

/** The name of a message's sender as a byte string; empty when it has none, or is the peer. */
const senderOf = ({ message }: QueuedMessage) => byteString(message.sender_ext ?? new Uint8Array(0));

export class QueueFiller {
  readonly #group: SocketGroup;
  readonly #filled = new Set<number>();

  constructor(group: SocketGroup) {
    this.#group = group;
  }

  has(entry: UnixSkEntry): boolean {
    return !this.#filled.has(entry.id) && this.#messages(entry).length > 0;
  }

  #messages(entry: UnixSkEntry): readonly QueuedMessage[] {
    return queuedMessages(entry.id, this.#group.home.context);
  }

  /** Whether all that waits came from somebody of that name. */
  isFrom(entry: UnixSkEntry, name: Uint8Array): boolean {
    const wanted = byteString(name);
    return !this.has(entry) || this.#messages(entry).every((message) => senderOf(message) === wanted);
  }

  /** The name of whoever sent the first message. */
  firstSender(entry: UnixSkEntry): Uint8Array {
    return this.#messages(entry)[0]?.message.sender_ext ?? new Uint8Array(0);
  }

  /** Sends all of it from a socket that is connected to it; once. */
  fill(entry: UnixSkEntry, from: number): void {
    if (!this.has(entry)) return;
    this.#filled.add(entry.id);
    const messages = this.#messages(entry);
    if (!this.#hasRoom(messages, from)) this.#makeRoom(entry, from);
    for (const queued of messages) this.#send(entry, from, queued);
  }

  /** Sends what a connection brings that `listener` has not accepted yet. */
  fillPending(listener: UnixSkEntry, { id = 0 }: UnixPendingExt, from: number): void {
    const messages = queuedMessages(id, this.#group.home.context);
    if (messages.length > 0) this.#makeRoom(listener, from);
    for (const queued of messages) this.#send(listener, from, queued);
  }

  /** Sends all of it to a socket that has a name and is connected to nobody: from those who sent it, or from helpers. */
  fillBySenders(entry: UnixSkEntry): void {
    if (!this.has(entry)) return;
    this.#filled.add(entry.id);
    const group = this.#group;
    const helpers = new Map<string, number>();
    for (const queued of this.#messages(entry)) {
      const name = senderOf(queued);
      const member = name === '' ? undefined : group.madeByName(name);
      let from = member ?? helpers.get(name);
      if (from === undefined) {
        from = group.makeHelper(SOCK_DGRAM);
        helpers.set(name, from);
        if (name !== '') group.places.bindForAWhile(from, bytesOf(name), `a sender to ${socketKey(entry)}`);
        group.connect(from, entry);
        this.#makeRoom(entry, from);
      } else if (member !== undefined) this.#makeRoom(entry, from);
      const to = member === undefined ? undefined : entry;
      this.#send(entry, from, queued, to);
    }
    for (const fd of helpers.values()) group.close(fd);
  }

  #hasRoom(messages: readonly QueuedMessage[], from: number): boolean {
    let bytes = this.#sent.get(from) ?? 0;
    for (const { payload } of messages) bytes += bytesInQueue(payload.length);
    this.#sent.set(from, bytes);
    return hasRoomFor(bytes, this.#group.home.context);
  }

  /** What each descriptor has sent, more or less. */
  readonly #sent = new Map<number, number>();

  /** Descriptors whose send buffer is not what it was. */
  readonly enlarged = new Set<number>();

  #makeRoom(entry: UnixSkEntry, from: number): void {
    this.enlarged.add(from);
    const because = `fill the queue of ${socketKey(entry)}`;
    planIntOption(this.#group.home.table, from, SOL_SOCKET, SO_SNDBUFFORCE, BIG_BUFFER, because);
  }

  /** `to`: by name, from a socket that is not connected to it. */
  #send(entry: UnixSkEntry, from: number, { message, payload }: QueuedMessage, to?: UnixSkEntry): void {
    const { table } = this.#group.home;
    const because = ['fill the queue of', socketKey(entry)] as const;
    const { creds_ext, scm } = message;
    const fds = scm.length === 0 ? [] : scm.flatMap(({ rights }) => rights.map((id) => this.#fdInFlight(id, entry)));
    if (fds.length === 0 && creds_ext === undefined && to === undefined) {
      table.doExpecting(because, payload.length, SYS.sendto, from, { bytes: payload }, payload.length, SEND_FLAGS);
      return;
    }
    const header = messageHeader(payload, fds, creds_ext, to === undefined ? undefined : socketAddress(to.name));
    const send = () => table.doExpecting(because, payload.length, SYS.sendmsg, from, header, SEND_FLAGS);
    if (to === undefined) send();
    else this.#group.places.where(to, send);
  }

  #fdInFlight(fileId: number, receiver: UnixSkEntry): number {
    const fd = this.#group.fdInFlight(fileId);
    if (fd >= 0) return fd;
    throw new CriuError({
      object: `${socketKey(receiver)} (${showName(receiver.name)})`,
      action: 'cannot be restored',
      why: 'sockets in flight wait to be received from each other, which is not supported yet',
    });
  }
}

/** One control message. */
function controlMessage(type: number, words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array((CMSG_HEADER_BYTES + words.length * 4 + 7) & ~7);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(CMSG_HEADER_BYTES + words.length * 4), true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, type, true);
  words.forEach((word, i) => {
    view.setInt32(CMSG_HEADER_BYTES + i * 4, word | 0, true);
  });
  return bytes;
}

/** struct msghdr (man 2 sendmsg). */
function messageHeader(
  payload: Uint8Array,
  fds: readonly number[],
  creds: SkUcredExt | undefined,
  address: Uint8Array | undefined,
): StepArg {
  const control = Buffer.concat([
    ...(fds.length === 0 ? [] : [controlMessage(SCM_RIGHTS, fds)]),
    ...(creds === undefined ? [] : [controlMessage(SCM_CREDENTIALS, [creds.pid, creds.uid, creds.gid])]),
  ]);
  const vector = new Uint8Array(16);
  new DataView(vector.buffer).setBigUint64(8, BigInt(payload.length), true);
  const bytes = new Uint8Array(56);
  const header = new DataView(bytes.buffer);
  header.setUint32(8, address?.length ?? 0, true);
  header.setBigUint64(24, 1n, true);
  header.setBigUint64(40, BigInt(control.length), true);
  const pointers = [
    ...(address === undefined ? [] : [{ offset: 0, bytes: address }]),
    { offset: 16, bytes: vector, pointers: [{ offset: 0, bytes: payload }] },
    ...(control.length === 0 ? [] : [{ offset: 32, bytes: control }]),
  ];
  return { bytes, pointers };
}
