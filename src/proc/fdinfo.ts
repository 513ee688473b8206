/**
 * /proc/PID/fdinfo/FD: position and flags of an open file, its locks, and what its kind adds, man 5 proc_pid_fdinfo.
 *
 * Lines are found by key, so lines of other kinds and of newer kernels are ignored. The kinds are independent: a
 * field is `undefined` (or a list empty) when the file is not of that kind.
 */
import { parseBpfMap, parseBpfProg } from './fdinfo-bpf.ts';
import { parseFanotifyMark, parseInotifyWatch } from './fdinfo-notify.ts';
import type {
  BpfMapInfo,
  BpfProgInfo,
  EpollTarget,
  EventfdInfo,
  FanotifyInfo,
  InotifyWatch,
  PidfdInfo,
  TimerfdInfo,
  UserfaultfdInfo,
} from './fdinfo-types.ts';
import { type FileLock, parseLock } from './locks.ts';
import {
  eachLine,
  type Field,
  malformed,
  type Place,
  parseKeyedLines,
  toBigint,
  toHex,
  toHexBigint,
  toInteger,
  toIntegers,
  toOctal,
} from './text.ts';

export type * from './fdinfo-types.ts';

/** /proc/PID/fdinfo/FD. */
export interface Fdinfo {
  readonly pos: bigint;
  /** O_* of the open file, and O_CLOEXEC of the descriptor. */
  readonly flags: number;
  readonly mntId: number | undefined;
  /** Since 5.14. */
  readonly ino: bigint | undefined;
  /** Descriptors in flight in a Unix socket; since 5.8. */
  readonly scmFds: number | undefined;
  readonly locks: readonly FileLock[];
  readonly eventfd: EventfdInfo | undefined;
  readonly epoll: readonly EpollTarget[];
  /** Mask of a signalfd: bit n-1 is signal n. */
  readonly sigmask: bigint | undefined;
  readonly timerfd: TimerfdInfo | undefined;
  readonly inotify: readonly InotifyWatch[];
  readonly fanotify: FanotifyInfo | undefined;
  readonly pidfd: PidfdInfo | undefined;
  /** Interface name of a tun or tap file, as the kernel names it; empty while unattached. */
  readonly tunIff: string | undefined;
  readonly bpfMap: BpfMapInfo | undefined;
  readonly bpfProg: BpfProgInfo | undefined;
  readonly userfaultfd: UserfaultfdInfo | undefined;
  readonly isIoUring: boolean;
}

/** Parses /proc/PID/fdinfo/FD. Throws CriuError, naming `file` and line, when the text is not the kernel's. */
export function parseFdinfo(text: string, file = '/proc/PID/fdinfo/FD'): Fdinfo {
  const lines = new FdinfoLines(text, file);
  return {
    pos: lines.required('pos', toBigint),
    flags: lines.required('flags', toOctal),
    mntId: lines.optional('mnt_id', toInteger),
    ino: lines.optional('ino', toBigint),
    scmFds: lines.optional('scm_fds', toInteger),
    ...parseRepeated(text, file),
    eventfd: parseEventfd(lines),
    sigmask: lines.optional('sigmask', toHexBigint),
    timerfd: parseTimerfd(lines),
    pidfd: parsePidfd(lines),
    tunIff: lines.fields.get('iff')?.value,
    bpfMap: parseBpfMap(lines.fields),
    bpfProg: parseBpfProg(lines.fields),
    userfaultfd: parseUserfaultfd(lines),
    isIoUring: lines.has('SqMask') && lines.has('CqMask'),
  };
}

/** Lines that come once per lock, target or watch. */
function parseRepeated(text: string, file: string) {
  const locks: FileLock[] = [];
  const epoll: EpollTarget[] = [];
  const inotify: InotifyWatch[] = [];
  let fanotify: FanotifyInfo | undefined;
  eachLine(text, file, (line, place) => {
    if (line.startsWith('lock:')) locks.push(parseLock(line.slice('lock:'.length).trimStart(), place));
    else if (line.startsWith('tfd:')) epoll.push(parseEpollTarget(line, place));
    else if (line.startsWith('inotify ')) inotify.push(parseInotifyWatch(line, place));
    else if (line.startsWith('fanotify ')) fanotify = addFanotify(fanotify, line, place);
  });
  return { locks, epoll, inotify, fanotify };
}

/** The first line of a fanotify file has the flags of the group, the others its marks. */
function addFanotify(info: FanotifyInfo | undefined, line: string, place: Place): FanotifyInfo {
  const group = /^fanotify flags:([0-9a-f]+) event-flags:([0-9a-f]+)/.exec(line);
  if (group !== null) {
    const flags = toHex(group[1] ?? '', place, 'flags');
    return { flags, eventFlags: toHex(group[2] ?? '', place, 'flags'), marks: info?.marks ?? [] };
  }
  if (info === undefined) throw malformed(place, 'the flags of the fanotify group');
  return { ...info, marks: [...info.marks, parseFanotifyMark(line, place)] };
}

const EPOLL_LINE =
  /^tfd: +(-?\d+) events: +([0-9a-f]+) data: +([0-9a-f]+)(?: +pos:(-?\d+) ino:([0-9a-f]+) sdev:([0-9a-f]+))?/;

/** pos, ino and sdev are there since 4.13. */
function parseEpollTarget(line: string, place: Place): EpollTarget {
  const match = EPOLL_LINE.exec(line);
  if (match === null) throw malformed(place, 'an epoll target');
  const [, tfd = '', events = '', data = '', pos, ino, sdev] = match;
  return {
    tfd: toInteger(tfd, place, 'a file descriptor'),
    events: toHex(events, place, 'events'),
    data: toHexBigint(data, place, 'data'),
    pos: pos === undefined ? undefined : BigInt(pos),
    ino: ino === undefined ? undefined : toHexBigint(ino, place, 'an inode number'),
    sdev: sdev === undefined ? undefined : toHex(sdev, place, 'a device number'),
  };
}

function parseEventfd(lines: FdinfoLines): EventfdInfo | undefined {
  const count = lines.optional('eventfd-count', toHexBigint);
  if (count === undefined) return undefined;
  return {
    count,
    id: lines.optional('eventfd-id', toInteger),
    isSemaphore: lines.has('eventfd-semaphore') ? lines.required('eventfd-semaphore', toInteger) === 1 : undefined,
  };
}

function parseTimerfd(lines: FdinfoLines): TimerfdInfo | undefined {
  if (!lines.has('clockid')) return undefined;
  return {
    clockId: lines.required('clockid', toInteger),
    ticks: lines.required('ticks', toBigint),
    settimeFlags: lines.required('settime flags', toOctal),
    value: lines.required('it_value', toTimespec),
    interval: lines.required('it_interval', toTimespec),
  };
}

/** `(seconds, nanoseconds)`. */
function toTimespec(text: string, place: Place): { sec: bigint; nsec: number } {
  const match = /^\((\d+), (\d+)\)$/.exec(text);
  if (match === null) throw malformed(place, '(seconds, nanoseconds)');
  return { sec: BigInt(match[1] ?? ''), nsec: toInteger(match[2] ?? '', place, 'nanoseconds') };
}

function parsePidfd(lines: FdinfoLines): PidfdInfo | undefined {
  const pid = lines.optional('Pid', toInteger);
  if (pid === undefined) return undefined;
  return { pid, nsPid: lines.optional('NSpid', toIntegers) ?? [pid] };
}

function parseUserfaultfd(lines: FdinfoLines): UserfaultfdInfo | undefined {
  const api = lines.fields.get('API');
  if (api === undefined || !lines.has('pending')) return undefined;
  const [version = '', features = '', ioctls = ''] = api.value.split(':');
  return {
    api: toHexBigint(version, api.place, 'an API number'),
    features: toHexBigint(features, api.place, 'features'),
    ioctls: toHexBigint(ioctls, api.place, 'ioctls'),
  };
}

class FdinfoLines {
  readonly fields: ReadonlyMap<string, Field>;
  private readonly whole: Place;

  constructor(text: string, file: string) {
    this.fields = parseKeyedLines(text, file);
    this.whole = { file, line: 0, text };
  }

  has(key: string): boolean {
    return this.fields.has(key);
  }

  optional<T>(key: string, convert: (text: string, place: Place, what: string) => T): T | undefined {
    const field = this.fields.get(key);
    return field && convert(field.value, field.place, `a value of "${key}"`);
  }

  required<T>(key: string, convert: (text: string, place: Place, what: string) => T): T {
    const value = this.optional(key, convert);
    if (value === undefined) throw malformed(this.whole, `a line "${key}:"`);
    return value;
  }
}
