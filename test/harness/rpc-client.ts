/**
 * A small client of criu's RPC for tests, on the transport of CRIU's own clients: SOCK_SEQPACKET, one message a packet.
 * `RpcClient.spawn` starts `criu swrk`, `RpcClient.connect` uses a service. Calls block: nothing else runs meanwhile.
 */
import { decode, encode } from '../../src/image/codec.ts';
import { CriuOpts, CriuReq, CriuReqType, CriuResp } from '../../src/image/gen/rpc.ts';
import { SOCK_CLOEXEC, SOCK_SEQPACKET } from '../../src/linux/abi/socket.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { addressOf, check, syscall } from '../../src/linux/kernel.ts';
import { close } from '../../src/linux/syscalls/fs.ts';
import { tryConnectUnix, tryPeekLength, trySend, unixSocket } from '../../src/linux/syscalls/messages.ts';
import { criuBinary } from './criu-command.ts';

const AF_UNIX = 1;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const MINUS_ONE = [0x08, ...Array(9).fill(0xff), 0x01];

/** Options of a request with everything absent that need not be there. */
export function requestOptions(options: Partial<CriuOpts> = {}): CriuOpts {
  return { ...decode(CriuOpts, Uint8Array.from(MINUS_ONE), 'options'), ...options };
}

export interface SpawnOptions {
  readonly env?: Record<string, string>;
  readonly stderr?: 'inherit' | 'ignore';
}

export class RpcClient {
  readonly fd: number;
  /** The descriptor that came with the last response, which is the test's to close. */
  passedFd: number | undefined;
  readonly worker: Bun.Subprocess | undefined;

  private constructor(fd: number, worker?: Bun.Subprocess) {
    this.fd = fd;
    this.worker = worker;
  }

  /** `criu swrk` as our own child. */
  static spawn({ env, stderr = 'ignore' }: SpawnOptions = {}): RpcClient {
    const pair = new Int32Array(2);
    check('socketpair', syscall(SYS.socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
    const [ours = -1, theirs = -1] = pair;
    const worker = Bun.spawn([criuBinary, 'swrk', '3'], {
      stdio: ['ignore', 'ignore', stderr, theirs],
      env: { PATH: process.env['PATH'] ?? '', ...env },
    });
    close(theirs);
    return new RpcClient(ours, worker);
  }

  /** A client of the service at `path`. */
  static connect(path: string): RpcClient {
    const fd = unixSocket(SOCK_SEQPACKET);
    check('connect', tryConnectUnix(fd, path), path);
    return new RpcClient(fd);
  }

  /** Sends bytes as they are. */
  sendBytes(bytes: Uint8Array): void {
    check('sendmsg', trySend(this.fd, bytes));
  }

  send(request: CriuReq): void {
    this.sendBytes(encode(CriuReq, request));
  }

  /** The next response; undefined when criu has closed the connection. */
  receive(): CriuResp | undefined {
    const length = tryPeekLength(this.fd);
    if (length <= 0) return undefined;
    const bytes = new Uint8Array(length);
    this.passedFd = receiveWithFd(this.fd, bytes);
    return decode(CriuResp, bytes, 'response');
  }

  /** One request and its response. `onNotify` answers notifications: whether the work may go on. */
  call(request: CriuReq, onNotify: (response: CriuResp) => boolean | CriuReq = () => true): CriuResp {
    this.send(request);
    for (;;) {
      const response = this.receive();
      if (response === undefined) throw new Error('criu has closed the connection without a response');
      if (response.type !== CriuReqType.NOTIFY) return response;
      const answer = onNotify(response);
      this.send(typeof answer === 'boolean' ? { type: CriuReqType.NOTIFY, notify_success: answer } : answer);
    }
  }

  [Symbol.dispose](): void {
    close(this.fd);
  }
}

/** One request to a `criu swrk` of its own. */
export function callOnce(request: CriuReq, options: SpawnOptions = {}): CriuResp {
  using client = RpcClient.spawn(options);
  return client.call(request);
}

/** recvmsg(2) with room for one descriptor (man 3 cmsg); returns it. */
function receiveWithFd(fd: number, bytes: Uint8Array): number | undefined {
  const vector = BigUint64Array.of(BigInt(addressOf(bytes)), BigInt(bytes.length));
  const control = new Uint8Array(new ArrayBuffer(24));
  const header = BigUint64Array.of(0n, 0n, BigInt(addressOf(vector)), 1n, BigInt(addressOf(control)), 24n, 0n);
  check('recvmsg', syscall(SYS.recvmsg, fd, header, MSG_CMSG_CLOEXEC));
  // The arrays must stay alive until the kernel has used their addresses.
  const used = vector.length === 2 ? (header[5] ?? 0n) : 0n;
  return used >= 20n ? new DataView(control.buffer).getInt32(16, true) : undefined;
}
