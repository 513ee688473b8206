/** Asking the kernel for all sockets of a family in our network namespace (man 7 sock_diag). */
import { ERRNO } from '../linux/abi/errno.ts';
import { SOCK_CLOEXEC } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../linux/kernel.ts';
import { close } from '../linux/syscalls/fs.ts';
import { AF_NETLINK, type Answer, NETLINK_SOCK_DIAG, NLMSG_ERROR, parseAnswers, SOCK_RAW } from './netlink.ts';

export const SOCK_DIAG_BY_FAMILY = 20;

const NLMSG_DONE = 3;
const BUFFER_BYTES = 64 * 1024;

/** Sends a dump request; returns the answers. Throws SyscallError; `family` names it. */
export function askForSockets(request: Uint8Array, family: string): Answer[] {
  const fd = check('socket', syscall(SYS.socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), 'AF_NETLINK');
  try {
    check('sendto', syscall(SYS.sendto, fd, request, request.length, 0, 0, 0), `sock_diag, ${family}`);
    return receiveAll(fd, family);
  } finally {
    close(fd);
  }
}

function receiveAll(fd: number, family: string): Answer[] {
  const all: Answer[] = [];
  const buffer = new Uint8Array(BUFFER_BYTES);
  for (;;) {
    const got = syscall(SYS.recvfrom, fd, buffer, buffer.length, 0, 0, 0);
    if (got === -ERRNO.EINTR) continue;
    const answers = parseAnswers(buffer.subarray(0, check('recvfrom', got, `sock_diag, ${family}`)));
    for (const answer of answers) {
      const { type, payload } = answer;
      if (type === NLMSG_DONE) return all;
      if (type === NLMSG_ERROR) {
        const error = payload.length < 4 ? -ERRNO.EIO : new DataView(payload.buffer).getInt32(0, true);
        check('sock_diag', error, family);
      }
      all.push(answer);
    }
    if (answers.length === 0) return all;
  }
}
