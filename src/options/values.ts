/**
 * Parsers of option values. Each returns the value or throws `ValueError`, whose message is CRIU's where CRIU has one:
 * tests and tools of its users look for those words.
 */

import type {
  CgroupRoot,
  CpuCapabilities,
  ExternalResource,
  InheritFd,
  JoinNamespace,
  JoinNamespaceType,
} from './criu-options.ts';

/** A value that the option does not take. `showUsage`: CRIU prints its usage after this one. */
export class ValueError extends Error {
  override readonly name = 'ValueError';
  readonly showUsage: boolean;
  constructor(message: string, showUsage = false) {
    super(message);
    this.showUsage = showUsage;
  }
}

/** "invalid argument for -t: 0", with the option as the user spelled it. */
export function invalidArgument(spelling: string, value: string): ValueError {
  return new ValueError(`invalid argument for ${spelling}: ${value}`);
}

/** Largest value of a C int; CRIU keeps most numbers in one. */
const INT_MAX = 2_147_483_647;
const DIGIT_0 = 0x30;

/** Digits only, 0 to INT_MAX; anything else is undefined. */
export function tryParseNumber(text: string): number | undefined {
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - DIGIT_0;
    if (digit < 0 || digit > 9) return undefined;
  }
  const value = Number.parseInt(text, 10);
  return value <= INT_MAX ? value : undefined;
}

/** A number above 0, as pids and ports are; blanks around it, as `$(pidof x)` may leave, do no harm. */
export function parsePositive(text: string, spelling: string, max = INT_MAX): number {
  const value = tryParseNumber(text.trim());
  if (value === undefined || value === 0 || value > max) throw invalidArgument(spelling, text);
  return value;
}

/** A descriptor number. */
export function parseFd(text: string, spelling: string): number {
  const value = tryParseNumber(text);
  if (value === undefined) throw invalidArgument(spelling, text);
  return value;
}

/** As C's atoi: leading digits count, anything else is 0. For the options whose callers rely on that. */
export function parseLeadingNumber(text: string): number {
  const value = Number.parseInt(text, 10);
  return value > 0 ? Math.min(value, INT_MAX) : 0;
}

/** `-v`, `-vv`, `-v3`, `--verbosity=3`: the level after this option. Not a number counts as 0, as in CRIU. */
export function nextLogLevel(current: number, value: string | undefined): number {
  if (value === undefined) return current + 1;
  if (value.startsWith('v')) return current + value.length + 1;
  return parseLeadingNumber(value);
}

const SIZE_UNITS: Record<string, number> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** Bytes, with K, M or G for powers of 1024. */
export function parseSize(text: string, spelling: string): number {
  const match = /^([0-9]+)([KMG]?)$/.exec(text);
  const bytes = Number(match?.[1]) * (SIZE_UNITS[match?.[2] ?? ''] ?? 1);
  if (match === null || !Number.isSafeInteger(bytes)) throw invalidArgument(spelling, text);
  return bytes;
}

/**
 * `--cpu-cap=fpu,^cpu`: words change the current set one after another, "^" takes the next away.
 * Without an argument all of them count.
 */
export function parseCpuCap(text: string | undefined, current: CpuCapabilities): CpuCapabilities {
  if (text === undefined) return { fpu: true, cpu: true, ins: true, image: true };
  const caps = { fpu: current.fpu, cpu: current.cpu, ins: current.ins };
  for (const item of text.split(',')) {
    const word = item.replace(/^\^+/, '');
    const isOn = (item.length - word.length) % 2 === 0;
    if (word === '' && item === '') continue;
    if (word === 'all') setAll(caps, isOn);
    else if (word === 'none') setAll(caps, !isOn);
    else if (word === 'fpu' || word === 'cpu' || word === 'ins') caps[word] = isOn;
    else throw new ValueError(`Unknown FPU mode \`${word}' selected`, true);
  }
  return { ...caps, image: caps.fpu || caps.cpu || caps.ins };
}

function setAll(caps: { fpu: boolean; cpu: boolean; ins: boolean }, isOn: boolean): void {
  caps.fpu = isOn;
  caps.cpu = isOn;
  caps.ins = isOn;
}

/** `fd[N]:KEY`. */
export function parseInheritFd(text: string): InheritFd {
  const match = /^fd\[([0-9]+)\]:(.+)$/s.exec(text);
  const fd = tryParseNumber(match?.[1] ?? '');
  const key = match?.[2];
  if (fd === undefined || key === undefined) throw new ValueError(`Invalid inherit fd argument: ${text}`);
  return { fd, key };
}

/** `TYPE[ID]:VALUE`. A key without brackets is kept as it is: plugins may look it up. */
export function parseExternal(text: string): ExternalResource {
  const match = /^([^[\]:]+)\[(.*?)\](?::(.*))?$/s.exec(text);
  if (match === null) {
    if (text === '' || text.includes('[')) throw badExternal(text);
    return { key: text, type: text, id: undefined, value: undefined };
  }
  return { key: text, type: match[1] ?? '', id: match[2], value: match[3] };
}

export function badExternal(text: string): ValueError {
  return new ValueError(`Could not add external resource when initializing config: ${text}`);
}

/** The flags of `mnt[]:FLAGS`: m for masters, s for sharing, both in any order, or none. */
export function parseAutoMountFlags(resource: ExternalResource): { masters: boolean; sharing: boolean } {
  const flags = resource.value ?? '';
  if (!/^[ms]*$/.test(flags)) throw badExternal(resource.key);
  return { masters: flags.includes('m'), sharing: flags.includes('s') };
}

const JOINABLE: readonly string[] = ['net', 'uts', 'time', 'ipc', 'user', 'mnt'];

/** `TYPE:PID` or `TYPE:FILE`, for a user namespace also `,UID,GID`. */
export function parseJoinNamespace(text: string, spelling: string): JoinNamespace {
  const colon = text.indexOf(':');
  if (colon < 0) throw invalidArgument(spelling, text);
  const type = text.slice(0, colon);
  if (type === 'pid') throw new ValueError('join-ns pid namespace not supported');
  if (!isJoinable(type)) throw new ValueError(`invalid namespace type ${type}`);
  const [source = '', uid, gid, ...more] = text.slice(colon + 1).split(',');
  if (source === '' || (/^[0-9]+$/.test(source) && !((tryParseNumber(source) ?? 0) > 0))) {
    throw new ValueError(`Invalid join_ns pid ${source}`);
  }
  if (more.length > 0 || (type !== 'user' && uid !== undefined)) throw invalidArgument(spelling, text);
  return { type, source, uid: parseUserId(uid, text), gid: parseUserId(gid, text) };
}

function isJoinable(type: string): type is JoinNamespaceType {
  return JOINABLE.includes(type);
}

/** CRIU accepts ids of 16 bits here. */
function parseUserId(text: string | undefined, whole: string): number | undefined {
  if (text === undefined || text === '') return undefined;
  const value = tryParseNumber(text);
  if (value === undefined || value > 65_535) throw new ValueError(`invalid user namespace extra_opts ${whole}`);
  return value;
}

/** `[CONTROLLER:]/PATH`. */
export function parseCgroupRoot(text: string, spelling: string): CgroupRoot {
  const colon = text.indexOf(':');
  const path = text.slice(colon + 1);
  const controller = colon < 0 ? undefined : text.slice(0, colon);
  if (!path.startsWith('/') || controller === '') throw invalidArgument(spelling, text);
  return { controller, path };
}

/** `-x[INO,INO…]`: socket inodes. */
export function parseSocketInodes(text: string): number[] {
  const inodes = text.split(',').filter((word) => word !== '');
  const numbers = inodes.map((word) => (/^[0-9]+$/.test(word) ? Number(word) : 0));
  if (numbers.some((inode) => inode === 0 || inode > 0xffff_ffff)) {
    throw new ValueError(`Failed to parse unix socket inode from optarg: ${text}`);
  }
  return numbers;
}

/** Splits "KEY<separator>VALUE" at the first separator. */
export function parsePair(text: string, separator: string, spelling: string): readonly [string, string] {
  const at = text.indexOf(separator);
  if (at < 0) throw invalidArgument(spelling, text);
  return [text.slice(0, at), text.slice(at + 1)];
}
