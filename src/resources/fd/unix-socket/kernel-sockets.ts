/** All UNIX sockets of criu's network namespace, by inode, as the kernel tells them by sock_diag. */

import { askForSockets } from '../../../netlink/sock-diag.ts';
import { parseUnixDiag, type UnixDiag, unixDiagRequest } from '../../../netlink/unix-diag.ts';

export class KernelSockets {
  readonly #byInode = new Map<number, UnixDiag>();
  /** For each socket that waits to be accepted, the listening one. */
  readonly #listeners = new Map<number, UnixDiag>();

  constructor(sockets: Iterable<UnixDiag>) {
    for (const socket of sockets) {
      this.#byInode.set(socket.ino, socket);
      for (const ino of socket.pending) if (ino !== 0) this.#listeners.set(ino, socket);
    }
  }

  /** Asks the kernel. Throws SyscallError. */
  static read(): KernelSockets {
    const sockets: UnixDiag[] = [];
    for (const answer of askForSockets(unixDiagRequest(), 'AF_UNIX')) {
      const socket = parseUnixDiag(answer);
      if (socket !== undefined) sockets.push(socket);
    }
    return new KernelSockets(sockets);
  }

  get(ino: number): UnixDiag | undefined {
    return this.#byInode.get(ino);
  }

  /** The inode of the socket with that name. */
  findByName(name: Uint8Array): number | undefined {
    for (const socket of this.#byInode.values()) if (Buffer.compare(socket.name, name) === 0) return socket.ino;
    return undefined;
  }

  /** The listening socket that has `ino` in its backlog. */
  listenerOf(ino: number): UnixDiag | undefined {
    return this.#listeners.get(ino);
  }
}
