/** All UNIX sockets of criu's network namespace, by inode, as the kernel tells them by sock_diag. */

import { ask, NETLINK_SOCK_DIAG } from '../../../netlink/netlink.ts';
import { askForSockets } from '../../../netlink/sock-diag.ts';
import { parseUnixDiag, type UnixDiag, unixDiagRequest } from '../../../netlink/unix-diag.ts';

export class KernelSockets {
  readonly #byInode = new Map<number, UnixDiag>();
  /** For each socket that waits to be accepted, the listening one. */
  readonly #listeners = new Map<number, UnixDiag>();

  readonly #askFor: (ino: number) => UnixDiag | undefined;

  /** `askFor`: asks for a socket that is not among those. */
  constructor(sockets: Iterable<UnixDiag>, askFor: (ino: number) => UnixDiag | undefined = () => undefined) {
    this.#askFor = askFor;
    for (const socket of sockets) this.#add(socket);
  }

  #add(socket: UnixDiag): void {
    this.#byInode.set(socket.ino, socket);
    for (const ino of socket.pending) if (ino !== 0) this.#listeners.set(ino, socket);
  }

  /** Asks the kernel. Throws SyscallError. */
  static read(): KernelSockets {
    const sockets: UnixDiag[] = [];
    for (const answer of askForSockets(unixDiagRequest(), 'AF_UNIX')) {
      const socket = parseUnixDiag(answer);
      if (socket !== undefined) sockets.push(socket);
    }
    return new KernelSockets(sockets, askForSocket);
  }

  /**
   * The list comes in pieces, between which it goes on at a place by number: when others close sockets meanwhile, some are
   * left out (net/unix/diag.c unix_diag_dump()). So what is missing is asked for by itself.
   */
  get(ino: number): UnixDiag | undefined {
    const known = this.#byInode.get(ino);
    if (known !== undefined) return known;
    const socket = this.#askFor(ino);
    if (socket?.ino !== ino) return undefined;
    this.#add(socket);
    return socket;
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

function askForSocket(ino: number): UnixDiag | undefined {
  const answers = ino === 0 ? 0 : ask(NETLINK_SOCK_DIAG, unixDiagRequest(ino));
  const [answer] = typeof answers === 'number' ? [] : answers;
  return answer && parseUnixDiag(answer);
}
