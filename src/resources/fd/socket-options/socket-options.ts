/**
 * Options that sockets of all families have (man 7 socket): reading them from an open socket, and the steps that set
 * them on a new one.
 *
 * SO_REUSEADDR and SO_REUSEPORT are only read here: when they can be set depends on the family.
 */

import { byteString } from '../../../base/bytes.ts';
import type { CriuErrorFields } from '../../../base/errors.ts';
import { keepEncoded } from '../../../image/codec.ts';
import type { SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import type { SkUcredExt } from '../../../image/gen/sk-packet.ts';
import { ERRNO } from '../../../linux/abi/errno.ts';
import { SOCK_FILTER_BYTES } from '../../../linux/abi/seccomp.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { check } from '../../../linux/kernel.ts';
import { tryPeerGroups } from '../../../linux/syscalls/messages.ts';
import { tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { KindDump, OpenFile, RestoreSystem, SocketBuffers, Unsupported } from '../file-kind.ts';
import { packFilter, unpackFilter } from './filter.ts';
import { checkKeptOptions } from './kept-options.ts';
import { type Group, readMemberships } from './multicast.ts';
import { OptionReader, type ReaderLayout } from './option-reader.ts';
import { findRow, type SocketType } from './option-rows.ts';
import type { ValueSet } from './option-values.ts';
import { planIntOption, planOption } from './plan-option.ts';

/**
 * Reads the options of the socket behind a descriptor of ours, or says what cannot be kept. `groups`: the multicast
 * groups that it may be a member of. Throws SyscallError.
 */
export function readSocketOptions(
  fd: number,
  type: SocketType,
  dump: KindDump,
  groups: readonly Group[] = [],
): SkOptsEntry | Unsupported {
  const known = knownOf(type, dump);
  return known.describe(fd, known.reader.read(fd), groups);
}

/** The same of a UNIX socket, which is not asked when it is like the one before. */
export function readUnixOptions(file: OpenFile, type: number, dump: KindDump): SkOptsEntry | Unsupported {
  const { socketLikeness } = file;
  const known = knownOfUnix(type, dump);
  const isAlike =
    known.likeness !== undefined && socketLikeness !== undefined && sameBytes(known.likeness, socketLikeness);
  if (isAlike && known.entry !== undefined) return known.entry;
  const options = known.describe(file.localFd, known.reader.read(file.localFd), NO_GROUPS);
  known.likeness = socketLikeness;
  return options;
}

const sameBytes = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

const knownOf = (type: SocketType, dump: Pick<KindDump, 'state'>): KnownOptions =>
  dump.state(`socket options ${type.family} ${type.type} ${type.proto}`, () => new KnownOptions(type));

/** The same without the text that names a kind: it would be put together for each of thousands. */
function knownOfUnix(type: number, dump: Pick<KindDump, 'state'>): KnownOptions {
  const byType = dump.state<Map<number, KnownOptions>>('UNIX socket options', () => new Map());
  let known = byType.get(type);
  if (known === undefined) {
    known = new KnownOptions({ family: SOCKET.AF_UNIX, type, proto: 0 });
    byType.set(type, known);
  }
  return known;
}

const NO_GROUPS: readonly Group[] = [];

/** The options of sockets of a kind, one after the other. */
export class KnownOptions {
  readonly reader: OptionReader;
  readonly #type: SocketType;
  readonly #entries = new WeakMap<ValueSet, SkOptsEntry>();
  #values: ValueSet | undefined = undefined;
  /** Of the socket that was read last, if it is known. */
  likeness: Uint8Array | undefined;
  /** Of that socket. */
  entry: SkOptsEntry | Unsupported | undefined;
  peer: SocketPeer | undefined;

  constructor(type: SocketType, layout?: ReaderLayout) {
    this.#type = type;
    this.reader = new OptionReader(type, layout);
  }

  /** Those of the socket that was read last, which has these values. Throws SyscallError. */
  describe(fd: number, values: ValueSet, groups: readonly Group[]): SkOptsEntry | Unsupported {
    this.likeness = undefined;
    if (values !== this.#values) this.peer = undefined;
    this.#values = values;
    this.entry = this.#entries.get(values);
    if (this.entry === undefined) {
      this.entry = keepEncoded(describeOptions(fd, this.#type, this.reader));
      if (!('unsupported' in this.entry) && isWhole(this.entry, this.#type)) this.#entries.set(values, this.entry);
    }
    if ('unsupported' in this.entry || groups.length === 0) return this.entry;
    const memberships = readMemberships(fd, this.#type.family, groups);
    if ('unsupported' in memberships) return memberships;
    return { ...this.entry, options_ext: [...this.entry.options_ext, ...memberships] };
  }
}

/** Who made the other end of a UNIX socket. */
export interface SocketPeer {
  readonly creds: SkUcredExt;
  readonly groups: number[];
}

/** SO_PEERCRED and SO_PEERGROUPS of the UNIX socket whose options were read last. Throws SyscallError. */
export function readPeer(file: OpenFile, type: number, dump: KindDump): SocketPeer {
  const known = knownOfUnix(type, dump);
  known.peer ??= describePeer(known.reader);
  if (known.reader.tryLength(SOCKET.SO_PEERGROUPS) !== -ERRNO.ERANGE) return known.peer;
  // More than there is room for in the program.
  const groups = tryPeerGroups(file.localFd);
  return { creds: known.peer.creds, groups: typeof groups === 'number' ? [] : [...groups] };
}

function describePeer(reader: OptionReader): SocketPeer {
  const ucred = reader.bytes(SOCKET.SO_PEERCRED);
  const creds = { pid: ucred.getInt32(0, true), uid: ucred.getUint32(4, true), gid: ucred.getUint32(8, true) };
  // A socket whose peer nobody made has none.
  const count = Math.max(reader.tryLength(SOCKET.SO_PEERGROUPS), 0) / 4;
  if (count === 0) return { creds, groups: [] };
  const view = reader.bytes(SOCKET.SO_PEERGROUPS);
  return { creds, groups: Array.from({ length: count }, (_, i) => view.getUint32(4 * i, true)) };
}

/** Whether the values that were read tell all of it: of filters and variable options they have only lengths and beginnings. */
const isWhole = ({ so_filter, options_ext }: SkOptsEntry, type: SocketType) =>
  so_filter.length === 0 && !options_ext.some(({ level, option }) => findRow(type, level, option)?.isVariable === true);

function describeOptions(fd: number, { family }: SocketType, reader: OptionReader): SkOptsEntry | Unsupported {
  const int = (option: number) => reader.int(option);
  const flag = (option: number) => int(option) !== 0;
  const timeout = (option: number) => {
    const timeval = reader.bytes(option);
    return { sec: Number(timeval.getBigInt64(0, true)), usec: Number(timeval.getBigInt64(8, true)) };
  };
  const send = timeout(SOCKET.SO_SNDTIMEO);
  const receive = timeout(SOCKET.SO_RCVTIMEO);
  const so_filter = readFilter(fd, reader.tryLength(SOCKET.SO_GET_FILTER));
  if (!Array.isArray(so_filter)) return so_filter;
  const entry: SkOptsEntry = {
    so_sndbuf: int(SOCKET.SO_SNDBUF),
    so_rcvbuf: int(SOCKET.SO_RCVBUF),
    so_snd_tmo_sec: send.sec,
    so_snd_tmo_usec: send.usec,
    so_rcv_tmo_sec: receive.sec,
    so_rcv_tmo_usec: receive.usec,
    reuseaddr: flag(SOCKET.SO_REUSEADDR),
    so_priority: int(SOCKET.SO_PRIORITY) >>> 0,
    so_rcvlowat: int(SOCKET.SO_RCVLOWAT) >>> 0,
    so_dontroute: flag(SOCKET.SO_DONTROUTE),
    so_no_check: flag(SOCKET.SO_NO_CHECK),
    so_filter,
    so_reuseport: flag(SOCKET.SO_REUSEPORT),
    so_broadcast: flag(SOCKET.SO_BROADCAST),
    so_keepalive: flag(SOCKET.SO_KEEPALIVE),
    so_oobinline: int(SOCKET.SO_OOBINLINE),
    options_ext: reader.kept(fd),
  };
  const mark = int(SOCKET.SO_MARK) >>> 0;
  if (mark !== 0) entry.so_mark = mark;
  // Since 5.14.
  if (reader.tryLength(SOCKET.SO_BUF_LOCK) > 0) entry.so_buf_lock = int(SOCKET.SO_BUF_LOCK);
  if (family === SOCKET.AF_UNIX || family === SOCKET.AF_NETLINK) {
    entry.so_passcred = flag(SOCKET.SO_PASSCRED);
    entry.so_passsec = flag(SOCKET.SO_PASSSEC);
  }
  const linger = reader.bytes(SOCKET.SO_LINGER);
  if (linger.getInt32(0, true) !== 0) entry.so_linger = linger.getUint32(4, true);
  if (reader.tryLength(SOCKET.SO_BINDTODEVICE) > 0) entry.so_bound_dev = readDevice(reader);
  return entry;
}

/** The name of the network device that it is bound to. */
function readDevice(reader: OptionReader): string {
  const { buffer, byteOffset } = reader.bytes(SOCKET.SO_BINDTODEVICE);
  const bytes = new Uint8Array(buffer, byteOffset, reader.tryLength(SOCKET.SO_BINDTODEVICE));
  return byteString(bytes).replace(/\0.*$/s, '');
}

/** The classic BPF program of a socket. The length of this option is in instructions, not bytes (net/core/filter.c). */
function readFilter(fd: number, count: number): bigint[] | Unsupported {
  if (count === -ERRNO.EACCES) {
    return { unsupported: 'it has an eBPF filter (SO_ATTACH_BPF), which the kernel does not give out' };
  }
  check('getsockopt', count, 'SO_GET_FILTER');
  if (count === 0) return [];
  const program = new Uint8Array(count * SOCK_FILTER_BYTES);
  check('getsockopt', tryGetsockopt(fd, SOCKET.SOL_SOCKET, SOCKET.SO_GET_FILTER, program), 'SO_GET_FILTER');
  return packFilter(program);
}

type FlagField = 'so_passcred' | 'so_passsec' | 'so_dontroute' | 'so_no_check' | 'so_broadcast' | 'so_keepalive';

const FLAGS: readonly (readonly [FlagField, number])[] = [
  ['so_passcred', SOCKET.SO_PASSCRED],
  ['so_passsec', SOCKET.SO_PASSSEC],
  ['so_dontroute', SOCKET.SO_DONTROUTE],
  ['so_no_check', SOCKET.SO_NO_CHECK],
  ['so_broadcast', SOCKET.SO_BROADCAST],
  ['so_keepalive', SOCKET.SO_KEEPALIVE],
];

const BOTH_LOCKS = SOCKET.SOCK_SNDBUF_LOCK | SOCKET.SOCK_RCVBUF_LOCK;
const RCVLOWAT_DEFAULT = 1;

/**
 * Plans setting the options of a new socket, all but SO_REUSEADDR and SO_REUSEPORT; `what` names it in errors. They can
 * be set before it is bound. What a new socket has anyway is not set again. `fresh`: the socket is as it was made, with
 * buffers of these sizes, and nothing has changed its priority.
 */
export function planSocketOptions(
  table: FdTablePlan,
  fd: number,
  opts: SkOptsEntry,
  what: string,
  fresh?: SocketBuffers | 'set later',
): void {
  if (fresh !== undefined && settled.get(opts) === fresh) return;
  const steps = table.stepCount;
  const int = (name: string, option: number, value: number) =>
    planIntOption(table, fd, SOCKET.SOL_SOCKET, option, value, ['set', name, 'of', what]);
  if (!hasBuffers(opts, fresh)) planBuffers(table, fd, opts, what);
  const isFresh = typeof fresh === 'object';
  const hasPriority = opts.so_priority === undefined || (isFresh && opts.so_priority === 0);
  if (opts.so_priority !== undefined && !hasPriority) int('so_priority', SOCKET.SO_PRIORITY, opts.so_priority);
  const { so_rcvlowat = RCVLOWAT_DEFAULT, so_mark = 0, so_oobinline = 0, so_linger } = opts;
  if (so_rcvlowat !== RCVLOWAT_DEFAULT) int('so_rcvlowat', SOCKET.SO_RCVLOWAT, so_rcvlowat);
  if (so_mark !== 0) int('so_mark', SOCKET.SO_MARK, so_mark);
  if (so_oobinline !== 0) int('so_oobinline', SOCKET.SO_OOBINLINE, 1);
  for (const [field, option] of FLAGS) if (opts[field] === true) int(field, option, 1);
  if (so_linger !== undefined) {
    const linger = new Uint8Array(Int32Array.of(1, so_linger).buffer);
    planOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_LINGER, linger, ['set so_linger of', what]);
  }
  planTimeout(table, fd, SOCKET.SO_SNDTIMEO, opts.so_snd_tmo_sec, opts.so_snd_tmo_usec, what);
  planTimeout(table, fd, SOCKET.SO_RCVTIMEO, opts.so_rcv_tmo_sec, opts.so_rcv_tmo_usec, what);
  planReceiveRules(table, fd, opts, what);
  if (fresh !== undefined && table.stepCount === steps) settled.set(opts, fresh);
}

/** Plans the options that keep a socket from receiving everything. */
export function planReceiveRules(table: FdTablePlan, fd: number, opts: SkOptsEntry, what: string): void {
  if (opts.so_bound_dev !== undefined && opts.so_bound_dev !== '') {
    const name = Buffer.from(`${opts.so_bound_dev}\0`, 'latin1');
    planOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_BINDTODEVICE, name, `bind ${what} to ${opts.so_bound_dev}`);
  }
  planFilter(table, fd, opts.so_filter, what);
}

/** Options that a new socket has anyway, with the buffers it has then: equal ones of many sockets are one object. */
const settled = new WeakMap<SkOptsEntry, SocketBuffers | 'set later'>();

/** The same options without those of `planReceiveRules`, which come later. */
export const receivingAll = (opts: SkOptsEntry): SkOptsEntry => ({ ...opts, so_bound_dev: '', so_filter: [] });

function hasBuffers({ so_buf_lock, so_sndbuf, so_rcvbuf }: SkOptsEntry, fresh?: SocketBuffers | 'set later'): boolean {
  if (fresh === undefined || fresh === 'set later') return fresh !== undefined;
  return so_buf_lock === 0 && fresh.sendBytes === so_sndbuf && fresh.receiveBytes === so_rcvbuf;
}

/**
 * Plans the sizes of the buffers. The kernel doubles what it is given (man 7 socket, SO_SNDBUF), and remembers that
 * somebody set it.
 */
export function planBuffers(table: FdTablePlan, fd: number, opts: SkOptsEntry, what: string): void {
  const { so_sndbuf, so_rcvbuf } = opts;
  const halves = [
    [SOCKET.SO_SNDBUFFORCE, so_sndbuf >>> 1, 'so_sndbuf'],
    [SOCKET.SO_RCVBUFFORCE, so_rcvbuf >>> 1, 'so_rcvbuf'],
  ] as const;
  for (const [option, half, name] of halves) {
    planIntOption(table, fd, SOCKET.SOL_SOCKET, option, half, ['set', name, 'of', what]);
  }
  planBufferLock(table, fd, opts, what);
}

/** Plans that the sizes are no more fixed than they were: setting them has fixed them. */
export function planBufferLock(table: FdTablePlan, fd: number, { so_buf_lock }: SkOptsEntry, what: string): void {
  if (so_buf_lock !== undefined && so_buf_lock !== BOTH_LOCKS) {
    planIntOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_BUF_LOCK, so_buf_lock, ['set so_buf_lock of', what]);
  }
}

function planTimeout(table: FdTablePlan, fd: number, option: number, sec: number, usec: number, what: string): void {
  if (sec === 0 && usec === 0) return;
  const timeval = new Uint8Array(BigInt64Array.of(BigInt(sec), BigInt(usec)).buffer);
  planOption(table, fd, SOCKET.SOL_SOCKET, option, timeval, ['set a timeout of', what]);
}

/** struct sock_fprog: the number of instructions, and at byte 8 the address of the first. */
function planFilter(table: FdTablePlan, fd: number, filter: readonly bigint[], what: string): void {
  if (filter.length === 0) return;
  const program = new Uint8Array(16);
  new DataView(program.buffer).setUint16(0, filter.length, true);
  const arg = { bytes: program, pointers: [{ offset: 8, bytes: unpackFilter(filter) }] };
  const value = { arg, bytes: program.length };
  planOption(table, fd, SOCKET.SOL_SOCKET, SOCKET.SO_ATTACH_FILTER, value, ['attach the filter of', what]);
}

const BPF_MAXINSNS = 4096;
const USEC_PER_SEC = 1_000_000;

/** What speaks against restoring these options: a damaged image, a device that is missing. */
export function checkSocketOptions(
  opts: SkOptsEntry,
  objectOf: () => string,
  system: RestoreSystem,
): CriuErrorFields[] {
  if (opts === sound && opts.options_ext.length === 0) return NO_PROBLEMS;
  const damage = findDamage(opts);
  if (damage === undefined) {
    sound = opts;
    return opts.options_ext.length === 0 ? [] : checkKeptOptions(opts, objectOf(), system);
  }
  return [{ object: objectOf(), action: 'cannot be restored', why: `${damage}: the image is damaged` }];
}

const NO_PROBLEMS: CriuErrorFields[] = [];
/** The options of the last socket without damage: mostly those of the next one too. Those of each run are its own objects. */
let sound: SkOptsEntry | undefined;

function findDamage(opts: SkOptsEntry): string | undefined {
  if (opts.so_filter.length > BPF_MAXINSNS) return `its filter has ${opts.so_filter.length} instructions`;
  if ((opts.so_bound_dev?.length ?? 0) >= SOCKET.IFNAMSIZ) return `its device has the name ${opts.so_bound_dev}`;
  const usec = Math.max(opts.so_snd_tmo_usec, opts.so_rcv_tmo_usec);
  return usec >= USEC_PER_SEC ? `${usec} microseconds are more than a second` : undefined;
}
