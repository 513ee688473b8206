/**
 * How `--pretty` shows numbers of some fields: hexadecimal, as flags, device numbers, IP addresses or words. Which field
 * has which form is in the schemas (`(criu).hex` and so on); the names are those of CRIU's crit (lib/pycriu/images/pb2dict.py),
 * because scripts read them.
 */
import type { FieldOptions } from '../image/message-type.ts';

type FlagNames = readonly (readonly [name: string, bit: number])[];

const FLAG_NAMES: Readonly<Record<string, FlagNames>> = {
  'mmap.prot': [
    ['PROT_READ', 1],
    ['PROT_WRITE', 2],
    ['PROT_EXEC', 4],
  ],
  'mmap.flags': [
    ['MAP_SHARED', 1],
    ['MAP_PRIVATE', 2],
    ['MAP_DROPPABLE', 8],
    ['MAP_ANON', 0x20],
    ['MAP_GROWSDOWN', 0x100],
  ],
  'mmap.status': [
    ['VMA_AREA_REGULAR', 1],
    ['VMA_AREA_STACK', 2],
    ['VMA_AREA_VSYSCALL', 4],
    ['VMA_AREA_VDSO', 8],
    ['VMA_AREA_HEAP', 0x20],
    ['VMA_FILE_PRIVATE', 0x40],
    ['VMA_FILE_SHARED', 0x80],
    ['VMA_ANON_SHARED', 0x100],
    ['VMA_ANON_PRIVATE', 0x200],
    ['VMA_AREA_SYSVIPC', 0x400],
    ['VMA_AREA_SOCKET', 0x800],
    ['VMA_AREA_VVAR', 0x1000],
    ['VMA_AREA_AIORING', 0x2000],
    ['VMA_AREA_MEMFD', 0x4000],
    ['VMA_AREA_SHSTK', 0x8000],
    ['VMA_AREA_UPROBES', 0x2_0000],
    ['VMA_UNSUPP', 0x8000_0000],
  ],
  'rfile.flags': [
    ['O_WRONLY', 0o1],
    ['O_RDWR', 0o2],
    ['O_CREAT', 0o100],
    ['O_EXCL', 0o200],
    ['O_NOCTTY', 0o400],
    ['O_TRUNC', 0o1000],
    ['O_APPEND', 0o2000],
    ['O_NONBLOCK', 0o4000],
    ['O_DSYNC', 0o10000],
    ['FASYNC', 0o20000],
    ['O_DIRECT', 0o40000],
    ['O_LARGEFILE', 0o100000],
    ['O_DIRECTORY', 0o200000],
    ['O_NOFOLLOW', 0o400000],
    ['O_NOATIME', 0o1000000],
    ['O_CLOEXEC', 0o2000000],
  ],
  'pmap.flags': [
    ['PE_PARENT', 1],
    ['PE_LAZY', 2],
    ['PE_PRESENT', 4],
  ],
  'seals.flags': [
    ['F_SEAL_SEAL', 1],
    ['F_SEAL_SHRINK', 2],
    ['F_SEAL_GROW', 4],
    ['F_SEAL_WRITE', 8],
    ['F_SEAL_FUTURE_WRITE', 0x10],
  ],
};

/** Words by the dictionary (`(criu).dict`) and the name of the field. */
const WORDS: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  'gen.task_state': { 1: 'Alive', 3: 'Zombie', 6: 'Stopped' },
  'sk.family': { 1: 'UNIX', 2: 'INET', 10: 'INET6', 16: 'NETLINK', 17: 'PACKET' },
  'sk.type': { 1: 'STREAM', 2: 'DGRAM', 3: 'RAW', 5: 'SEQPACKET', 10: 'PACKET' },
  'sk.state': {
    1: 'ESTABLISHED',
    2: 'SYN_SENT',
    3: 'SYN_RECV',
    4: 'FIN_WAIT1',
    5: 'FIN_WAIT2',
    6: 'TIME_WAIT',
    7: 'CLOSE',
    8: 'CLOSE_WAIT',
    9: 'LAST_ACK',
    10: 'LISTEN',
  },
  'sk.proto': { 0: 'IP', 6: 'TCP', 17: 'UDP', 136: 'UDPLITE' },
};

/** Minor numbers of devices have so many bits, except in the form that stat(2) gives (`odev`). */
const MINOR_BITS = 20n;

/** The pretty form of a number; the number itself when its field has no form. `isHex` comes from an outer field. */
export function formatNumber(
  value: number | bigint,
  name: string,
  options: FieldOptions | undefined,
  isHex: boolean,
): string | number | bigint {
  if (isHex || options?.hex === true) return hexText(value);
  if (options?.dev === true) return deviceText(BigInt(value), options.odev === true);
  if (options?.flags !== undefined) {
    const names = FLAG_NAMES[options.flags];
    return names === undefined ? hexText(value) : flagsText(BigInt(value), names);
  }
  if (options?.dict !== undefined) return wordsOf(options.dict, name)[Number(value)] ?? value;
  return value;
}

/** The number that a text stands for; undefined when it stands for none. */
export function tryParseNumber(text: string, name: string, options: FieldOptions | undefined): bigint | undefined {
  if (options?.dev === true) return tryParseDevice(text, options.odev === true);
  const names = options?.flags === undefined ? undefined : FLAG_NAMES[options.flags];
  if (names !== undefined) return tryParseFlags(text, names);
  if (options?.dict !== undefined) {
    const found = Object.entries(wordsOf(options.dict, name)).find(([, word]) => word === text);
    if (found !== undefined) return BigInt(found[0]);
  }
  return tryParseInteger(text);
}

/** The word for a number, where the dictionary has one. */
export function wordOf(dictionary: string, name: string, value: number): string | undefined {
  return wordsOf(dictionary, name)[value];
}

function wordsOf(dictionary: string, name: string): Readonly<Record<number, string>> {
  return WORDS[`${dictionary}.${name}`] ?? {};
}

/** Python writes a negative number as 0x-1. */
function hexText(value: number | bigint): string {
  return `0x${BigInt(value).toString(16)}`;
}

/** What Python's `int(text, 0)` reads, and its own "0x-1". */
function tryParseInteger(text: string): bigint | undefined {
  const match = /^\s*(-?)(0x-?[0-9a-f]+|0o[0-7]+|0b[01]+|[1-9][0-9]*|0+)\s*$/i.exec(text);
  if (match === null) return undefined;
  const [, sign, digits = ''] = match;
  const isNegative = sign === '-' || digits.includes('-');
  const size = BigInt(digits.replace('-', ''));
  return isNegative ? -size : size;
}

function flagsText(value: bigint, names: FlagNames): string {
  const words: string[] = [];
  let rest = value;
  for (const [name, bit] of names) {
    if ((value & BigInt(bit)) === 0n) continue;
    words.push(name);
    rest &= ~BigInt(bit);
  }
  if (rest !== 0n) words.push(hexText(rest));
  return words.join(' | ');
}

function tryParseFlags(text: string, names: FlagNames): bigint | undefined {
  if (text === '') return 0n;
  let value = 0n;
  for (const part of text.split('|')) {
    const word = part.trim();
    const bit = names.find(([name]) => name === word)?.[1];
    const bits = bit === undefined ? (word === 'VMA_AREA_NONE' ? 0n : tryParseInteger(word)) : BigInt(bit);
    if (bits === undefined) return undefined;
    value |= bits;
  }
  return value;
}

/** `odev`: as makedev(3) has it, with the low 8 bits of the minor number below the major one. */
function deviceText(value: bigint, isOld: boolean): string {
  if (!isOld) return `${value >> MINOR_BITS}:${value & ((1n << MINOR_BITS) - 1n)}`;
  const major = ((value >> 8n) & 0xfffn) | ((value >> 32n) & ~0xfffn);
  const minor = (value & 0xffn) | ((value >> 12n) & ~0xffn & 0xffff_ffffn);
  return `${major}:${minor}`;
}

function tryParseDevice(text: string, isOld: boolean): bigint | undefined {
  const match = /^\s*([0-9]+)\s*:\s*([0-9]+)\s*$/.exec(text);
  if (match === null) return tryParseInteger(text);
  const major = BigInt(match[1] ?? 0);
  const minor = BigInt(match[2] ?? 0);
  if (!isOld) return (major << MINOR_BITS) | minor;
  return ((major & 0xfffn) << 8n) | ((major & ~0xfffn) << 32n) | (minor & 0xffn) | ((minor & ~0xffn) << 12n);
}

/** The text of an address of 1 or 4 words in network byte order; undefined for any other number of words. */
export function tryFormatAddress(words: readonly number[]): string | undefined {
  const bytes = words.flatMap((word) => [word & 0xff, (word >>> 8) & 0xff, (word >>> 16) & 0xff, word >>> 24]);
  if (words.length === 1) return bytes.join('.');
  if (words.length !== 4) return undefined;
  const groups: string[] = [];
  for (let index = 0; index < 16; index += 2) {
    groups.push((((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0)).toString(16));
  }
  return compressed(groups);
}

/** RFC 5952: the longest run of two or more zeros becomes "::", the first one of equals. */
function compressed(groups: readonly string[]): string {
  let best = { start: 0, length: 1 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === '0') length++;
    if (length > best.length) best = { start, length };
  }
  if (best.length < 2) return groups.join(':');
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`;
}

/** The words of an address; undefined when the text is none. */
export function tryParseAddress(text: string): number[] | undefined {
  const bytes = text.includes(':') ? tryParseIpv6(text) : tryParseIpv4(text);
  if (bytes === undefined) return undefined;
  const view = new DataView(Uint8Array.from(bytes).buffer);
  return Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4, true));
}

function tryParseIpv4(text: string): number[] | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256))
    return undefined;
  return parts.map(Number);
}

function tryParseIpv6(text: string): number[] | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const lists = halves.map(parseGroups);
  const [head, tail] = lists;
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined;
  const known = head.length + (tail?.length ?? 0);
  if (halves.length === 1 ? known !== 16 : known > 14) return undefined;
  return [...head, ...new Array<number>(16 - known).fill(0), ...(tail ?? [])];
}

/** Bytes of the groups between colons; the last group may be an IPv4 address. */
function parseGroups(text: string): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  for (const [index, group] of text.split(':').entries()) {
    const isLast = index === text.split(':').length - 1;
    if (isLast && group.includes('.')) {
      const address = tryParseIpv4(group);
      if (address === undefined) return undefined;
      bytes.push(...address);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
      const word = Number.parseInt(group, 16);
      bytes.push(word >>> 8, word & 0xff);
    }
  }
  return bytes;
}
