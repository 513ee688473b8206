/** How the UNIX sockets of an image belong together. Pure. */

import { byteString } from '../../../base/bytes.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { SOCK_DGRAM } from '../../../linux/abi/socket.ts';
import { contextState } from '../context-state.ts';
import { filesOfType } from '../files-of-type.ts';
import { queuedMessages } from './queue.ts';
import { TCP_ESTABLISHED, TCP_LISTEN, USK_EXTERN } from './states.ts';

/** Sockets with equal keys have the same name. */
export function nameKey({ name, name_dir }: UnixSkEntry): string {
  return name.length === 0 ? '' : `${name_dir ?? ''} ${byteString(name)}`;
}

/** Whether it is an end of a connection: stream or seqpacket. */
export const isConnection = ({ type, state }: UnixSkEntry): boolean => type !== SOCK_DGRAM && state === TCP_ESTABLISHED;

export const unixLinks = contextState('unix links', (context) => {
  const entries = filesOfType(context.tree.files, FdTypes.UNIXSK).flatMap(({ usk }) => usk ?? []);
  return new UnixLinks(entries, ({ id }) =>
    queuedMessages(id, context).flatMap(({ message }) => message.sender_ext ?? []),
  );
});

export class UnixLinks {
  readonly entries: readonly UnixSkEntry[];
  readonly #byInode: ReadonlyMap<number, UnixSkEntry>;
  readonly #parents = new Map<number, number>();

  /** `sendersOf`: names of those whose messages wait in a socket. */
  constructor(entries: readonly UnixSkEntry[], sendersOf: (entry: UnixSkEntry) => readonly Uint8Array[] = () => []) {
    this.entries = entries;
    const byInode = new Map<number, UnixSkEntry>();
    for (const entry of entries) byInode.set(entry.ino, entry);
    this.#byInode = byInode;
    const byName = new Map<string, UnixSkEntry>();
    for (const entry of entries) {
      const peer = this.peerOf(entry);
      if (peer !== undefined && (peer.uflags & USK_EXTERN) === 0) this.#join(entry.id, peer.id);
      // Accepted sockets have the name of the listening one, and are made by it.
      if (entry.name.length === 0 || !(isConnection(entry) || entry.state === TCP_LISTEN)) continue;
      const key = nameKey(entry);
      const other = byName.get(key);
      if (other !== undefined) this.#join(entry.id, other.id);
      else byName.set(key, entry);
    }
    this.#joinSenders(entries, sendersOf);
  }

  /** Who has sent something to a socket sends it again. */
  #joinSenders(entries: readonly UnixSkEntry[], sendersOf: (entry: UnixSkEntry) => readonly Uint8Array[]): void {
    const byName = new Map<string, UnixSkEntry>();
    for (const entry of entries) if (entry.type === SOCK_DGRAM) byName.set(byteString(entry.name), entry);
    if (byName.size === 0) return;
    for (const entry of entries) {
      for (const name of sendersOf(entry)) {
        const sender = byName.get(byteString(name));
        if (sender !== undefined) this.#join(entry.id, sender.id);
      }
    }
  }

  /** The socket that another one is connected to; undefined when the image does not have it. */
  peerOf({ peer }: Pick<UnixSkEntry, 'peer'>): UnixSkEntry | undefined {
    return peer === 0 ? undefined : this.#byInode.get(peer);
  }

  /** Sockets with the same key depend on each other. */
  groupOf(id: number): number {
    return this.#root(id);
  }

  #root(id: number): number {
    let root = id;
    for (let parent = this.#parents.get(root); parent !== undefined; parent = this.#parents.get(root)) root = parent;
    return root;
  }

  #join(a: number, b: number): void {
    const rootA = this.#root(a);
    const rootB = this.#root(b);
    if (rootA !== rootB) this.#parents.set(rootB, rootA);
  }
}
