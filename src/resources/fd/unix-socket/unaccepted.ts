/**
 * Connections that nobody has accepted yet, with what the client has sent: as the kernel has them in its memory, for no
 * system call shows them but accept(2), which cannot be undone. Nothing is changed by looking.
 *
 * A listening socket has a message for each of them, which is sent by the socket that accept(2) is going to give
 * (net/unix/af_unix.c unix_stream_connect()); that one has a queue of messages like any other.
 */
import { CriuError } from '../../../base/errors.ts';
import type { SkUcredExt } from '../../../image/gen/sk-packet.ts';
import { KernelObjects } from '../../../linux/kernel-objects.ts';
import { KernelPages } from '../../../linux/kernel-pages.ts';

export interface Unaccepted {
  /** Who connected. */
  readonly creds: SkUcredExt;
  readonly groups: number[];
  /** The name of the client. */
  readonly name: Uint8Array;
  readonly messages: readonly UnacceptedMessage[];
  /** What cannot be kept. */
  readonly problem: string | undefined;
}

interface UnacceptedMessage {
  readonly creds: SkUcredExt;
  readonly payload: Uint8Array;
}

/** More in one queue than any limit of the kernel allows. */
const MESSAGES_MAX = 1 << 20;
const BYTES_MAX = 1 << 30;
/** NGROUPS_MAX (linux/limits.h). */
const GROUPS_MAX = 65_536;
/** struct skb_frag: the page, length and offset. */
const FRAGMENT_BYTES = 16;
/** struct sockaddr_un before sun_path. */
const FAMILY_BYTES = 2;
const NOTHING = new Uint8Array(0);

export class UnacceptedReader {
  readonly #objects: KernelObjects;
  #pages: KernelPages | undefined = undefined;

  private constructor(objects: KernelObjects) {
    this.#objects = objects;
  }

  /** Undefined where criu may not read memory of the kernel. */
  static tryOpen(): UnacceptedReader | undefined {
    const objects = KernelObjects.tryOpen();
    return objects === undefined ? undefined : new UnacceptedReader(objects);
  }

  /** Descriptors that are to be closed at the end. */
  get fds(): readonly number[] {
    return this.#objects.memory.fds;
  }

  /** All connections in the backlog of a listening socket of ours, in order. Throws CriuError. */
  read(listenerFd: number): Unaccepted[] {
    const objects = this.#objects;
    const socket = objects.word(objects.ownFile(listenerFd), 'file.private_data');
    const queue = objects.member(objects.word(socket, 'socket.sk'), 'sock.sk_receive_queue');
    return this.#list(queue).map((message) => this.#connection(objects.word(message, 'sk_buff.sk')));
  }

  #connection(sock: bigint): Unaccepted {
    const objects = this.#objects;
    const cred = objects.word(sock, 'sock.sk_peer_cred');
    const messages = this.#list(objects.member(sock, 'sock.sk_receive_queue'));
    return {
      creds: {
        pid: objects.pidNumber(objects.word(sock, 'sock.sk_peer_pid')),
        uid: objects.u32(cred, 'cred.euid'),
        gid: objects.u32(cred, 'cred.egid'),
      },
      groups: this.#groups(objects.word(cred, 'cred.group_info')),
      name: this.#name(objects.word(sock, 'unix_sock.peer')),
      problem: this.#problem(sock, messages),
      messages: messages.map((message) => ({ creds: this.#sender(message), payload: this.#payload(message) })),
    };
  }

  #groups(info: bigint): number[] {
    const objects = this.#objects;
    const count = objects.u32(info, 'group_info.ngroups');
    if (count > GROUPS_MAX) throw unclear(`a task with ${count} groups`);
    const bytes = this.#copy(objects.member(info, 'group_info.gid'), 4 * count);
    return [...new Uint32Array(bytes.buffer)];
  }

  /** struct sk_buff_head, a ring. */
  #list(head: bigint): bigint[] {
    const items: bigint[] = [];
    for (let at = this.#objects.word(head, 'sk_buff.next'); at !== head; at = this.#objects.word(at, 'sk_buff.next')) {
      if (items.push(at) > MESSAGES_MAX) throw unclear(`a queue with more than ${MESSAGES_MAX} messages`);
    }
    return items;
  }

  #name(peer: bigint): Uint8Array {
    const objects = this.#objects;
    const address = peer === 0n ? 0n : objects.word(peer, 'unix_sock.addr');
    if (address === 0n) return NOTHING;
    const bytes = objects.u32(address, 'unix_address.len');
    return this.#copy(objects.member(address, 'unix_address.name'), bytes).slice(FAMILY_BYTES);
  }

  #problem(sock: bigint, messages: readonly bigint[]): string | undefined {
    const objects = this.#objects;
    if (messages.some((message) => objects.word(this.#control(message), 'unix_skb_parms.fp') !== 0n)) {
      return 'a message for it carries descriptors (SCM_RIGHTS)';
    }
    // Kernels without urgent data in UNIX sockets (before 5.15, CONFIG_AF_UNIX_OOB) have no such member.
    const hasUrgent = objects.types.has('unix_sock.oob_skb') && objects.word(sock, 'unix_sock.oob_skb') !== 0n;
    return hasUrgent ? 'urgent data (MSG_OOB) was sent to it' : undefined;
  }

  #control = (message: bigint): bigint => this.#objects.member(message, 'sk_buff.cb');

  #sender(message: bigint): SkUcredExt {
    const objects = this.#objects;
    const control = this.#control(message);
    return {
      pid: objects.pidNumber(objects.word(control, 'unix_skb_parms.pid')),
      uid: objects.u32(control, 'unix_skb_parms.uid'),
      gid: objects.u32(control, 'unix_skb_parms.gid'),
    };
  }

  /** The bytes beside the message, and those in pages of their own. */
  #payload(message: bigint): Uint8Array {
    const objects = this.#objects;
    const bytes = objects.u32(message, 'sk_buff.len');
    const inPages = objects.u32(message, 'sk_buff.data_len');
    if (bytes > BYTES_MAX || inPages > bytes) throw unclear(`a message of ${bytes} bytes, ${inPages} of them in pages`);
    const parts = [this.#copy(objects.word(message, 'sk_buff.data'), bytes - inPages)];
    const shared = objects.word(message, 'sk_buff.head') + BigInt(objects.u32(message, 'sk_buff.end'));
    const count = inPages === 0 ? 0 : objects.u8(shared, 'skb_shared_info.nr_frags');
    const fragments = objects.member(shared, 'skb_shared_info.frags');
    for (let i = 0; i < count; i++) parts.push(this.#fragment(fragments + BigInt(i * FRAGMENT_BYTES)));
    const payload = Buffer.concat(parts);
    if (payload.length !== bytes) throw unclear(`a message of ${bytes} bytes, of which ${payload.length} were found`);
    return payload;
  }

  #fragment(at: bigint): Uint8Array {
    const fragment = this.#objects.memory.read(at, FRAGMENT_BYTES);
    this.#pages ??= KernelPages.find(this.#objects);
    const start = this.#pages.addressOf(fragment.getBigUint64(0, true)) + BigInt(fragment.getUint32(12, true));
    return this.#copy(start, fragment.getUint32(8, true));
  }

  #copy(address: bigint, bytes: number): Uint8Array {
    if (bytes > BYTES_MAX) throw unclear(`${bytes} bytes in one piece`);
    return this.#objects.copy(address, bytes);
  }
}

const unclear = (what: string) =>
  new CriuError({
    object: 'connections that nobody has accepted',
    action: 'cannot be dumped',
    why: `the kernel seems to have ${what}, which cannot be`,
    remedy: 'dump when they have been accepted',
  });
