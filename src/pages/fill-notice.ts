/**
 * How a dump learns that the memory of a task is still being filled: the filler listens at an abstract address with the
 * pid in it. Nobody is answered; the connection ends when the memory is complete, or the filler is gone.
 */
import type { Logger } from '../base/log.ts';
import { SOCK_STREAM } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { syscall } from '../linux/kernel.ts';
import { close } from '../linux/syscalls/fs.ts';
import {
  listen,
  tryBindUnix,
  tryConnectUnix,
  tryPeerCredentials,
  tryReceive,
  unixSocket,
} from '../linux/syscalls/messages.ts';

const addressOf = (pid: number) => `\0criu-fill-${pid}`;
const BACKLOG = 16;

/** The tasks are being filled, as long as this is not disposed of. */
export class FillNotice {
  readonly #sockets: number[] = [];

  constructor(pids: readonly number[]) {
    for (const pid of pids) {
      const socket = unixSocket(SOCK_STREAM);
      // Taken by somebody else: a dump of this task won't wait but be refused.
      if (tryBindUnix(socket, addressOf(pid)) < 0) close(socket);
      else {
        listen(socket, BACKLOG);
        this.#sockets.push(socket);
      }
    }
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) close(socket);
  }
}

/** Returns when the memory of the task is complete, at once if nobody fills it. */
export function waitForFilling(pid: number, log: Logger): void {
  const socket = unixSocket(SOCK_STREAM);
  try {
    if (tryConnectUnix(socket, addressOf(pid)) < 0) return;
    // Anybody may listen at such an address; who is not root is not believed.
    const peer = tryPeerCredentials(socket);
    if (peer === undefined || (peer.uid !== 0 && peer.uid !== syscall(SYS.geteuid))) return;
    log.info(`the memory of task ${pid} is still being filled (restore --run-at-once): waiting`);
    tryReceive(socket, new Uint8Array(1));
  } finally {
    close(socket);
  }
}
