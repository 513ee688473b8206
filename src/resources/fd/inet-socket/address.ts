/**
 * Addresses of Internet sockets. Images have them as 32-bit words whose bytes are in network order, one for IPv4, four
 * for IPv6; the kernel has struct sockaddr_in and sockaddr_in6 (man 7 ip, ipv6).
 */
import { putWord } from '../../../base/bytes.ts';
import { AF_INET, AF_INET6 } from '../../../linux/abi/socket.ts';

/** An address with its port. */
export interface InetAddress {
  readonly port: number;
  /** One word (IPv4) or four (IPv6). */
  readonly words: readonly number[];
}

const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;
const V4_AT = 4;
const V6_AT = 8;

/** How many words an address of the family has. */
export const wordsOf = (family: number) => (family === AF_INET6 ? 4 : 1);

/** The unspecified address, 0.0.0.0 or ::, port 0. */
export const unspecified = (family: number): InetAddress => ({ port: 0, words: new Array(wordsOf(family)).fill(0) });

export const isUnspecified = (words: readonly number[]) => words.every((word) => word === 0);

/** The first words of the `bytes` as an image has them. */
function readWords(bytes: Uint8Array, family: number): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: wordsOf(family) }, (_, i) => view.getUint32(i * 4, true));
}

/** Reads a struct sockaddr_in or sockaddr_in6; undefined when it is no address of the family. */
export function parseSockaddr(bytes: Uint8Array, family: number): InetAddress | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const needed = family === AF_INET6 ? SOCKADDR_IN6_BYTES : V4_AT + 4;
  if (bytes.length < needed || view.getUint16(0, true) !== family) return undefined;
  return { port: view.getUint16(2), words: readWords(bytes.subarray(family === AF_INET6 ? V6_AT : V4_AT), family) };
}

/** The struct sockaddr_in or sockaddr_in6 of an address. */
export function packSockaddr(family: number, { port, words }: InetAddress): Uint8Array {
  const isV4 = family === AF_INET;
  const bytes = new Uint8Array(isV4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES);
  bytes[0] = family;
  bytes[2] = port >>> 8;
  bytes[3] = port;
  for (let i = 0; i < wordsOf(family); i++) putWord(bytes, (isV4 ? V4_AT : V6_AT) + i * 4, words[i] ?? 0);
  return bytes;
}

/** Link-local addresses, and multicast ones that stay on a node or link, mean nothing without a device (RFC 4007). */
export function needsDevice(words: readonly number[]): boolean {
  const first = words[0] ?? 0;
  const high = first & 0xff;
  const low = (first >>> 8) & 0xff;
  return (high === 0xfe && (low & 0xc0) === 0x80) || (high === 0xff && [1, 2].includes(low & 0xf));
}

/** 255.255.255.255. */
export const isBroadcast = (words: readonly number[]) => words.length === 1 && words[0] === 0xffff_ffff;

/** 224.0.0.0/4, ff00::/8, and the former. */
export function isMulticast(words: readonly number[]): boolean {
  const first = (words[0] ?? 0) & 0xff;
  return words.length === 1 ? (first >= 224 && first < 240) || isBroadcast(words) : first === 0xff;
}

/** "127.0.0.1:80" or "[::1]:80", for people. */
export function formatAddress(family: number, { port, words }: InetAddress): string {
  if (family === AF_INET) {
    const word = words[0] ?? 0;
    return `${word & 0xff}.${(word >>> 8) & 0xff}.${(word >>> 16) & 0xff}.${word >>> 24}:${port}`;
  }
  const bytes = words.flatMap((word) => [word & 0xff, (word >>> 8) & 0xff, (word >>> 16) & 0xff, word >>> 24]);
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  );
  const text = groups.join(':');
  const zeros = [...text.matchAll(/\b0(:0\b)+/g)].sort((a, b) => b[0].length - a[0].length)[0];
  if (zeros === undefined) return `[${text}]:${port}`;
  const before = text.slice(0, zeros.index).replace(/:$/, '');
  const after = text.slice(zeros.index + zeros[0].length).replace(/^:/, '');
  return `[${before}::${after}]:${port}`;
}

/** Both ends of a connection as text, the own one first; IPv4 addresses in IPv6 sockets look as in IPv4 ones. */
export function endsOf(entry: {
  readonly family: number;
  readonly src_port: number;
  readonly dst_port: number;
  readonly src_addr: readonly number[];
  readonly dst_addr: readonly number[];
}): [string, string] {
  const format = (port: number, words: readonly number[]) => {
    return isMapped(words)
      ? formatAddress(AF_INET, { port, words: words.slice(3) })
      : formatAddress(entry.family, { port, words });
  };
  return [format(entry.src_port, entry.src_addr), format(entry.dst_port, entry.dst_addr)];
}

/** A connection as a key, from the own end and from the other; for IPv4 addresses in IPv6 sockets as for IPv4 ones. */
export function keysOfEnds(entry: {
  readonly src_port: number;
  readonly dst_port: number;
  readonly src_addr: readonly number[];
  readonly dst_addr: readonly number[];
}): [own: string, other: string] {
  const from = keyOfEnd(entry.src_addr, entry.src_port);
  const to = keyOfEnd(entry.dst_addr, entry.dst_port);
  return [`${from} ${to}`, `${to} ${from}`];
}

function keyOfEnd(words: readonly number[], port: number): string {
  if (words.length === 1) return `${words[0]}:${port}`;
  return isMapped(words) ? `${words[3]}:${port}` : `${words.join('.')}:${port}`;
}

/** ::ffff:a.b.c.d: IPv4 packets, though the socket is an IPv6 one. */
export const isMapped = (words: readonly number[]) =>
  words.length === 4 && words[0] === 0 && words[1] === 0 && words[2] === MAPPED;

const MAPPED = 0xffff_0000;
