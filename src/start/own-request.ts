/**
 * A dump or restore that is asked for as the runtimes of containers ask: by a request to `criu swrk`, whose notifications
 * the client agrees to.
 */
import { encode } from '../image/codec.ts';
import { CriuReq, CriuReqType } from '../image/gen/rpc.ts';
import { toCriuOpts } from '../library/request-options.ts';
import { O_CLOEXEC, O_DIRECTORY, O_PATH } from '../linux/abi/fcntl.ts';
import { SOCK_SEQPACKET } from '../linux/abi/socket.ts';
import { check } from '../linux/kernel.ts';
import { close, open } from '../linux/syscalls/fs.ts';
import { trySend, unixSocketPair } from '../linux/syscalls/messages.ts';

/** So many answers lie ready; nobody looks at those that are left. */
const NOTIFICATIONS_MAX = 12;

/** `pid`: of a tree that is to be dumped; without one the tree of the images is restored. */
export interface Wanted {
  readonly pid?: number;
  readonly leave_running?: boolean;
}

/** A request that waits in a socket. */
export class OwnRequest {
  /** For criu. */
  readonly fd: number;
  readonly #own: readonly number[];

  /** `images`: the folder. Throws SyscallError. */
  constructor(images: string, wanted: Wanted) {
    const folder = open(images, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const [client, server] = unixSocketPair(SOCK_SEQPACKET);
    this.fd = server;
    this.#own = [folder, client, server];
    const type = wanted.pid === undefined ? CriuReqType.RESTORE : CriuReqType.DUMP;
    const options = { images_dir_fd: folder, log_level: 4, log_file: 'criu.log', notify_scripts: true, ...wanted };
    const send = (message: CriuReq) => check('sendmsg', trySend(client, encode(CriuReq, message)), 'request');
    send({ type, opts: toCriuOpts(options) });
    for (let i = 0; i < NOTIFICATIONS_MAX; i++) send({ type: CriuReqType.NOTIFY, notify_success: true });
  }

  [Symbol.dispose](): void {
    for (const fd of this.#own) close(fd);
  }
}
