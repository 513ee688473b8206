/**
 * Reading all options of a socket at once. There are about fifty, and thousands of sockets: one program makes all the
 * calls, and most sockets turn out to have what the one before had.
 */
import { type Place, Program, type Result } from '../../../agent/program.ts';
import { SyscallError } from '../../../base/errors.ts';
import type { SkOptionExt } from '../../../image/gen/sk-opts.ts';
import { errnoName } from '../../../linux/abi/errno.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { tryDeviceName } from '../../../linux/syscalls/network-device.ts';
import { tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import { OwnCalls } from '../../../tracee/own-calls.ts';
import { type OptionRow, optionRows, type SocketType } from './option-rows.ts';

/** Options of SOL_SOCKET that have fields in sk_opts_entry, with the size of their values; 0: only the length counts. */
const IMAGE_OPTIONS: readonly (readonly [option: number, bytes: number])[] = [
  [SOCKET.SO_SNDBUF, 4],
  [SOCKET.SO_RCVBUF, 4],
  [SOCKET.SO_SNDTIMEO, 16],
  [SOCKET.SO_RCVTIMEO, 16],
  [SOCKET.SO_REUSEADDR, 4],
  [SOCKET.SO_REUSEPORT, 4],
  [SOCKET.SO_PRIORITY, 4],
  [SOCKET.SO_RCVLOWAT, 4],
  [SOCKET.SO_DONTROUTE, 4],
  [SOCKET.SO_NO_CHECK, 4],
  [SOCKET.SO_BROADCAST, 4],
  [SOCKET.SO_KEEPALIVE, 4],
  [SOCKET.SO_OOBINLINE, 4],
  [SOCKET.SO_MARK, 4],
  [SOCKET.SO_BUF_LOCK, 4],
  [SOCKET.SO_PASSCRED, 4],
  [SOCKET.SO_PASSSEC, 4],
  [SOCKET.SO_LINGER, 8],
  [SOCKET.SO_BINDTODEVICE, SOCKET.IFNAMSIZ],
  [SOCKET.SO_GET_FILTER, 0],
];
/** Of UNIX sockets: no options, but read in the same way; room for as many groups as people have. */
const PEER = [
  [SOCKET.SO_PEERCRED, 12],
  [SOCKET.SO_PEERGROUPS, 128],
] as const;

/** A value that no call has touched looks like this. */
const UNTOUCHED = 0xa5;
const WORD_BYTES = 8;
/** An option of variable size is at most this long (net/ipv6/ipv6_sockglue.c: sticky options). */
const VARIABLE_BYTES_MAX = 2048;

interface Call {
  readonly result: Result;
  readonly value: Place;
  readonly size: Place;
}

/** One for each kind of socket. */
export class OptionReader {
  readonly #calls: OwnCalls;
  readonly #image = new Map<number, Call>();
  readonly #kept: { readonly row: OptionRow; readonly call: Call }[] = [];
  /** The data of the program as it is before it runs. */
  readonly #fresh: Uint8Array;
  readonly #dataAt: number;
  readonly #fdAt: number;
  readonly #data: Uint8Array;
  /** What a new socket has; undefined when none can be made here. */
  readonly #defaults: Uint8Array | undefined;

  constructor(type: SocketType) {
    const program = new Program();
    const fd = program.words(0);
    const plan = (level: number, option: number, bytes: number): Call => {
      const value = program.data(new Uint8Array(Math.max(bytes, WORD_BYTES)).fill(UNTOUCHED));
      const size = program.words(bytes);
      return { value, size, result: program.call(SYS.getsockopt, program.wordAt(fd), level, option, value, size) };
    };
    const isUnix = type.family === SOCKET.AF_UNIX;
    for (const [option, bytes] of isUnix ? [...IMAGE_OPTIONS, ...PEER] : IMAGE_OPTIONS)
      this.#image.set(option, plan(SOCKET.SOL_SOCKET, option, bytes));
    for (const row of optionRows(type)) this.#kept.push({ row, call: plan(row.level, row.option, row.bytes) });
    this.#calls = new OwnCalls(program);
    this.#fdAt = this.#calls.offsetOf(fd);
    this.#dataAt = this.#fdAt;
    this.#data = this.#calls.block.subarray(this.#dataAt);
    this.#fresh = this.#data.slice();
    this.#defaults = this.#readDefaults(type);
  }

  #readDefaults({ family, type, proto }: SocketType): Uint8Array | undefined {
    const fd = syscall(SYS.socket, family, type | SOCKET.SOCK_CLOEXEC, proto);
    if (fd < 0) return undefined;
    this.read(fd);
    close(fd);
    return this.#data.slice();
  }

  /** Asks for all options of a socket; returns whether they are the same as those of the one before. */
  read(fd: number): boolean {
    this.#data.set(this.#fresh);
    this.#calls.view.setInt32(this.#fdAt, fd, true);
    this.#calls.run();
    // The number of the descriptor is no option.
    this.#calls.view.setInt32(this.#fdAt, 0, true);
    const isSame = this.#last !== undefined && Buffer.compare(this.#data, this.#last) === 0;
    if (!isSame) this.#last = this.#data.slice();
    return isSame;
  }

  #last: Uint8Array | undefined;

  /** The result of reading an option of the image: the length of its value, or −errno. */
  tryLength(option: number): number {
    const call = this.#callOf(option);
    const result = this.#calls.result(call.result);
    return result < 0 ? result : this.#calls.view.getUint32(this.#calls.offsetOf(call.size), true);
  }

  /** An option of the image that is an int. Throws SyscallError. */
  int(option: number): number {
    return this.bytes(option).getInt32(0, true);
  }

  /** The value of an option of the image. Throws SyscallError. */
  bytes(option: number): DataView {
    const length = check('getsockopt', this.tryLength(option), `SOL_SOCKET, ${option}`);
    const { block } = this.#calls;
    return new DataView(block.buffer, this.#calls.offsetOf(this.#callOf(option).value), Math.max(length, WORD_BYTES));
  }

  #callOf(option: number): Call {
    const call = this.#image.get(option);
    if (call === undefined) throw new SyscallError('getsockopt', 22, errnoName(22), `SOL_SOCKET, ${option}`);
    return call;
  }

  /** The options without a field in the image that differ from those of a new socket. `fd` is the socket read last. */
  kept(fd: number): SkOptionExt[] {
    const data = this.#data;
    const defaults = this.#defaults ?? this.#fresh;
    if (Buffer.compare(data, defaults) === 0) return [];
    const options: SkOptionExt[] = [];
    for (const { row, call } of this.#kept) {
      if (this.#calls.result(call.result) < 0) continue;
      const valueAt = this.#calls.offsetOf(call.value) - this.#dataAt;
      const end = this.#calls.offsetOf(call.size) - this.#dataAt + WORD_BYTES;
      if (Buffer.compare(data.subarray(valueAt, end), defaults.subarray(valueAt, end)) === 0) continue;
      const length = this.#calls.view.getUint32(this.#calls.offsetOf(call.size), true);
      const value = row.isVariable ? readVariable(fd, row) : data.slice(valueAt, valueAt + Math.min(length, row.bytes));
      if (row.automatic !== undefined && value[0] === row.automatic) continue;
      options.push({ level: row.level, option: row.option, value, ...(row.isDevice ? deviceIn(value) : {}) });
    }
    return options;
  }
}

function readVariable(fd: number, { level, option, name }: OptionRow): Uint8Array {
  const value = new Uint8Array(VARIABLE_BYTES_MAX);
  return value.subarray(0, check('getsockopt', tryGetsockopt(fd, level, option, value), name));
}

/** The name of the device whose index is the value. */
function deviceIn(value: Uint8Array): Pick<SkOptionExt, 'device' | 'device_offset'> {
  const device = tryDeviceName(new DataView(value.buffer, value.byteOffset).getInt32(0, true));
  return device === undefined ? {} : { device, device_offset: 0 };
}
