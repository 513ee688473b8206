/** Reading all options of a socket that are kept: those of the image, and what others differ in from a new socket. */
import type { SkOptionExt } from '../../../image/gen/sk-opts.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { tryDeviceName } from '../../../linux/syscalls/network-device.ts';
import { tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import { type OptionRow, optionRows, type SocketType } from './option-rows.ts';
import { type OptionSpec, OptionValues, type ValueSet } from './option-values.ts';

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

/** An option of variable size is at most this long (net/ipv6/ipv6_sockglue.c: sticky options). */
const VARIABLE_BYTES_MAX = 2048;

/** What a reader asks for besides, and how many sockets it asks at once. */
export interface ReaderLayout {
  readonly more?: readonly OptionSpec[];
  readonly rows?: number;
}

/**
 * Programs by kind of socket, the same in each run: laying one out takes longer than asking with it. Whoever has made the
 * last reader of a kind may use its.
 */
const laidOut = new Map<string, OptionValues>();

function layOut({ family, type, proto }: SocketType, rows: readonly OptionRow[], layout: ReaderLayout): OptionValues {
  const key = `${family} ${type} ${proto}`;
  const wanted = layout.rows ?? 1;
  let values = laidOut.get(key);
  if (values === undefined || values.rows < wanted) {
    const ofImage = family === SOCKET.AF_UNIX ? [...IMAGE_OPTIONS, ...PEER] : IMAGE_OPTIONS;
    values = new OptionValues(
      [
        ...ofImage.map(([option, bytes]): OptionSpec => [SOCKET.SOL_SOCKET, option, bytes]),
        ...rows.map(({ level, option, bytes }): OptionSpec => [level, option, bytes]),
        ...(layout.more ?? []),
      ],
      wanted,
    );
    laidOut.set(key, values);
  }
  values.forget();
  return values;
}

/** One for each kind of socket. */
export class OptionReader {
  readonly values: OptionValues;
  readonly #rows: readonly OptionRow[];
  /** What a new socket has, or what no socket has when none can be made here. */
  readonly #defaults: Uint8Array;

  constructor(type: SocketType, layout: ReaderLayout = {}) {
    this.#rows = optionRows(type);
    this.values = layOut(type, this.#rows, layout);
    const fd = syscall(SYS.socket, type.family, type.type | SOCKET.SOCK_CLOEXEC, type.proto);
    this.read(fd);
    this.#defaults = this.values.snapshot();
    if (fd >= 0) close(fd);
  }

  /** Asks for all options of a socket. */
  read(fd: number): ValueSet {
    return this.values.read(fd);
  }

  /** The result of reading an option of the image: the length of its value, or −errno. */
  tryLength(option: number): number {
    return this.values.tryLength(SOCKET.SOL_SOCKET, option);
  }

  /** An option of the image that is an int. Throws SyscallError. */
  int(option: number): number {
    return this.values.int(SOCKET.SOL_SOCKET, option);
  }

  /** The value of an option of the image. Throws SyscallError. */
  bytes(option: number): DataView {
    const value = this.values.bytes(SOCKET.SOL_SOCKET, option);
    return new DataView(value.buffer, value.byteOffset, value.length);
  }

  /** The options without a field in the image that differ from those of a new socket. `fd` is the socket read last. */
  kept(fd: number): SkOptionExt[] {
    const values = this.values;
    if (values.isAsIn(this.#defaults)) return [];
    const options: SkOptionExt[] = [];
    for (const row of this.#rows) {
      const { level, option } = row;
      const current = values.tryBytes(level, option);
      if (current === undefined || values.isAsIn(this.#defaults, level, option)) continue;
      const value = row.isVariable ? readVariable(fd, row) : current.slice();
      if (row.automatic !== undefined && value[0] === row.automatic) continue;
      options.push({ level, option, value, ...(row.isDevice ? deviceIn(value) : {}) });
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
