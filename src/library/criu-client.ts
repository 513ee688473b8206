/**
 * A client for programs on Node.js or Bun: it starts the executable (`criu swrk 3`), one process for each request, and
 * talks RPC with it over a pipe. Such a pipe is a stream socket, since Node.js has no sockets of packets; messages are
 * framed (image/rpc-messages.ts).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { decode, encode } from '../image/codec.ts';
import { CriuReq, CriuReqType, CriuResp } from '../image/gen/rpc.ts';
import { framed, frameLength, LENGTH_BYTES, MESSAGE_BYTES_MAX } from '../image/rpc-messages.ts';
import { type CheckpointOptions, type RequestOptions, toCriuOpts, toText } from './request-options.ts';

/** criu has refused or failed. */
export class CriuRequestError extends Error {
  override readonly name = 'CriuRequestError';
  /** A number of errno(3): ESRCH, EEXIST, EBADRQC for options that are wrong… */
  readonly errno: number;

  constructor(message: string, errno: number) {
    super(message);
    this.errno = errno;
  }
}

export interface CriuClientOptions {
  /** The executable; found in the PATH when it is a plain name. "criu" when not given. */
  readonly criu?: string;
  /** What becomes of what criu writes to its stderr; ignored when not given. The log is a file beside the images. */
  readonly stderr?: 'inherit' | 'ignore';
}

/** A point of the work (hook) such as "pre-dump", with the pid of the root task at those where it is new. */
export interface Notification {
  readonly hook: string;
  readonly pid: number | undefined;
}

/** Returns whether the work may go on. */
export type OnNotification = (notification: Notification) => boolean | Promise<boolean>;

export interface CriuVersion {
  readonly major: number;
  readonly minor: number;
  readonly name: string | undefined;
}

export class CriuClient {
  readonly #options: CriuClientOptions;

  constructor(options: CriuClientOptions = {}) {
    this.#options = options;
  }

  /** Saves a tree of processes. Throws CriuRequestError; then the tree runs as before. */
  async checkpoint(options: CheckpointOptions, onNotification?: OnNotification): Promise<void> {
    await this.#request(CriuReqType.DUMP, options, onNotification);
  }

  /** Brings a tree back. It is nobody's child afterwards, or with `rst_sibling` a child of this process. */
  async restore(options: RequestOptions, onNotification?: OnNotification): Promise<{ readonly pid: number }> {
    const { restore } = await this.#request(CriuReqType.RESTORE, options, onNotification);
    return { pid: restore?.pid ?? -1 };
  }

  /** Throws CriuRequestError when the kernel lacks something that every checkpoint needs. */
  async check(): Promise<void> {
    await this.#request(CriuReqType.CHECK, undefined);
  }

  async version(): Promise<CriuVersion> {
    const { version } = await this.#request(CriuReqType.VERSION, undefined);
    return { major: version?.major_number ?? 0, minor: version?.minor_number ?? 0, name: version?.name };
  }

  async #request(
    type: CriuReqType,
    options: RequestOptions | undefined,
    onNotification?: OnNotification,
  ): Promise<CriuResp> {
    const { criu = 'criu', stderr = 'ignore' } = this.#options;
    const child = spawn(criu, ['swrk', '3'], { stdio: ['ignore', 'ignore', stderr, 'pipe'] });
    const ended = endOf(child);
    const stream = child.stdio[3] as Duplex | null;
    // Without a stream the process was not started, and this says why.
    const connection = new Messages(stream ?? ((await ended) as never));
    const opts = options && toCriuOpts({ ...options, notify_scripts: onNotification !== undefined });
    try {
      connection.send(opts === undefined ? { type } : { type, opts });
      const response = await Promise.race([untilDone(connection, onNotification), ended]);
      if (response === undefined) throw new CriuRequestError('criu has ended without an answer', EPIPE);
      if (response.success) return response;
      throw new CriuRequestError(toText(response.cr_errmsg ?? 'criu failed'), response.cr_errno ?? 0);
    } finally {
      connection.close();
      await ended;
    }
  }
}

const EPIPE = 32;

/** Answers notifications until the response itself is there. */
async function untilDone(connection: Messages, onNotification?: OnNotification): Promise<CriuResp | undefined> {
  for (;;) {
    const response = await connection.receive();
    if (response?.type !== CriuReqType.NOTIFY) return response;
    const { script = '', pid } = response.notify ?? {};
    const mayGoOn = (await onNotification?.({ hook: script, pid })) !== false;
    connection.send({ type: CriuReqType.NOTIFY, notify_success: mayGoOn });
  }
}

/** Resolves when the process has ended. Rejects when it cannot be started. */
function endOf(child: ChildProcess): Promise<undefined> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new CriuRequestError(`criu cannot be started: ${error.message}`, EPIPE)));
    child.once('close', () => resolve(undefined));
  });
}

/** Messages on a stream. */
class Messages {
  readonly #stream: Duplex;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(stream: Duplex) {
    this.#stream = stream;
    // A worker that has gone is noticed by the end of the stream.
    stream.on('error', () => {});
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  send(request: CriuReq): void {
    this.#stream.write(framed(encode(CriuReq, request)));
  }

  /** Undefined at the end. */
  async receive(): Promise<CriuResp | undefined> {
    if (!(await this.#fill(LENGTH_BYTES))) return undefined;
    const length = frameLength(this.#bytes);
    if (length > MESSAGE_BYTES_MAX) return undefined;
    if (!(await this.#fill(LENGTH_BYTES + length))) return undefined;
    const message = this.#bytes.slice(LENGTH_BYTES, LENGTH_BYTES + length);
    this.#bytes = this.#bytes.slice(LENGTH_BYTES + length);
    return decode(CriuResp, message, 'response');
  }

  close(): void {
    this.#stream.destroy();
  }

  async #fill(length: number): Promise<boolean> {
    while (this.#bytes.length < length) {
      const next = await this.#chunks.next().catch(() => undefined);
      if (next === undefined || next.done === true) return false;
      this.#bytes = Buffer.concat([this.#bytes, next.value]);
    }
    return true;
  }
}
