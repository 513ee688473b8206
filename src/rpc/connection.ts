/**
 * A connection between criu and a client: requests come, responses go.
 *
 * Sockets of packets (SOCK_SEQPACKET) and streams are served; image/rpc-messages.ts says how messages lie in them.
 */
import { CriuError } from '../base/errors.ts';
import { decode, encode } from '../image/codec.ts';
import { CriuReq, CriuResp } from '../image/gen/rpc.ts';
import { ImageError } from '../image/image-error.ts';
import { framed, frameLength, LENGTH_BYTES, MESSAGE_BYTES_MAX } from '../image/rpc-messages.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { F_GETFL, F_SETFL, O_NONBLOCK } from '../linux/abi/fcntl.ts';
import { AF_UNIX, SO_DOMAIN, SO_TYPE, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET } from '../linux/abi/socket.ts';
import { fcntl } from '../linux/syscalls/fs.ts';
import { tryPeekLength, tryReceive, trySend } from '../linux/syscalls/messages.ts';
import { tryGetsockoptInt } from '../linux/syscalls/socket.ts';

/** A request that cannot be understood. */
export class MalformedRequest extends CriuError {
  constructor(why: string) {
    super({ action: 'Failed unpacking request', why, crErrno: ERRNO.EBADMSG });
  }
}

export class Connection {
  readonly fd: number;
  readonly isStream: boolean;

  /** Throws CriuError when `fd` is no UNIX socket that requests can come through. */
  constructor(fd: number) {
    const domain = tryGetsockoptInt(fd, SOL_SOCKET, SO_DOMAIN);
    const type = tryGetsockoptInt(fd, SOL_SOCKET, SO_TYPE);
    if (domain !== AF_UNIX || (type !== SOCK_SEQPACKET && type !== SOCK_STREAM)) {
      throw new CriuError({
        object: `fd ${fd}`,
        action: 'cannot be used for requests',
        why: 'it is no UNIX socket of type SOCK_SEQPACKET or SOCK_STREAM',
      });
    }
    this.fd = fd;
    // This end is ours alone, and this program has nothing else to do than to wait at it.
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    this.isStream = type === SOCK_STREAM;
  }

  /** Waits for a request. Undefined when the client has gone. Throws MalformedRequest, or CriuError on a broken socket. */
  receive(): CriuReq | undefined {
    const bytes = this.isStream ? this.#receiveFramed() : this.#receivePacket();
    if (bytes === undefined) return undefined;
    try {
      return decode(CriuReq, bytes, 'request');
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      throw new MalformedRequest(error.message);
    }
  }

  /** Sends a response, with a descriptor when one is given. False when the client has gone. Throws CriuError. */
  send(response: CriuResp, passedFd?: number): boolean {
    const message = encode(CriuResp, response);
    const bytes = this.isStream ? framed(message) : message;
    for (let sent = 0; sent < bytes.length; ) {
      const result = trySend(this.fd, bytes.subarray(sent), sent === 0 ? passedFd : undefined);
      if (result === -ERRNO.EINTR) continue;
      if (result === -ERRNO.EPIPE || result === -ERRNO.ECONNRESET) return false;
      if (result < 0) throw new CriuError({ action: `Can't send response: ${errnoName(-result)}` });
      sent += result;
    }
    return true;
  }

  #receivePacket(): Uint8Array | undefined {
    const length = untilDone(() => tryPeekLength(this.fd));
    // An empty packet looks like the end, and means the same.
    if (length === 0) return undefined;
    if (length > MESSAGE_BYTES_MAX) throw tooLong(length);
    const bytes = new Uint8Array(length);
    return bytes.subarray(
      0,
      untilDone(() => tryReceive(this.fd, bytes)),
    );
  }

  #receiveFramed(): Uint8Array | undefined {
    const head = this.#receiveBytes(LENGTH_BYTES);
    if (head === undefined) return undefined;
    const length = frameLength(head);
    if (length > MESSAGE_BYTES_MAX) throw tooLong(length);
    return this.#receiveBytes(length);
  }

  #receiveBytes(length: number): Uint8Array<ArrayBuffer> | undefined {
    const bytes = new Uint8Array(new ArrayBuffer(length));
    for (let done = 0; done < length; ) {
      const got = untilDone(() => tryReceive(this.fd, bytes.subarray(done)));
      if (got === 0) return undefined;
      done += got;
    }
    return bytes;
  }
}

const tooLong = (length: number) =>
  new MalformedRequest(`${length} bytes are too many, the limit is ${MESSAGE_BYTES_MAX}`);

/** Repeats a call that a signal has interrupted. A client that broke the connection has gone (0). */
function untilDone(call: () => number): number {
  for (;;) {
    const result = call();
    if (result === -ERRNO.EINTR) continue;
    if (result === -ERRNO.ECONNRESET) return 0;
    if (result < 0) throw new CriuError({ action: `Can't read request: ${errnoName(-result)}` });
    return result;
  }
}
