/** All UNIX sockets of criu's network namespace, by inode, as the kernel tells them by sock_diag. */

import { ERRNO } from '../../../linux/abi/errno.ts';
import { SOCK_CLOEXEC } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { AF_NETLINK, NETLINK_SOCK_DIAG, parseAnswers, SOCK_RAW } from '../../../netlink/netlink.ts';
import { parseUnixDiag, type UnixDiag, unixDiagRequest } from '../../../netlink/unix-diag.ts';

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const BUFFER_BYTES = 64 * 1024;

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
    const fd = check(
      'socket',
      syscall(SYS.socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG),
      'AF_NETLINK',
    );
    try {
      const request = unixDiagRequest();
      check('sendto', syscall(SYS.sendto, fd, request, request.length, 0, 0, 0), 'unix_diag');
      return new KernelSockets(receiveAll(fd));
    } finally {
      close(fd);
    }
  }

  get(ino: number): UnixDiag | undefined {
    return this.#byInode.get(ino);
  }

  /** The listening socket that has `ino` in its backlog. */
  listenerOf(ino: number): UnixDiag | undefined {
    return this.#listeners.get(ino);
  }
}

function* receiveAll(fd: number): Iterable<UnixDiag> {
  const buffer = new Uint8Array(BUFFER_BYTES);
  for (;;) {
    const got = check('recvfrom', syscall(SYS.recvfrom, fd, buffer, buffer.length, 0, 0, 0), 'unix_diag');
    const answers = parseAnswers(buffer.subarray(0, got));
    for (const answer of answers) {
      if (answer.type === NLMSG_DONE) return;
      if (answer.type === NLMSG_ERROR) {
        const error = answer.payload.length < 4 ? -ERRNO.EIO : new DataView(answer.payload.buffer).getInt32(0, true);
        check('sock_diag', error, 'AF_UNIX');
      }
      const socket = parseUnixDiag(answer);
      if (socket !== undefined) yield socket;
    }
    if (answers.length === 0) return;
  }
}
