/** Netlink messages (man 7 netlink, rtnetlink, sock_diag): building requests, reading answers and their errors. */

import { ERRNO } from '../linux/abi/errno.ts';
import { SOCK_CLOEXEC } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { syscall } from '../linux/kernel.ts';
import { close } from '../linux/syscalls/fs.ts';

export const AF_NETLINK = 16;
export const SOCK_RAW = 3;
export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;
export const NETLINK_NETFILTER = 12;
export const NLM_F_REQUEST = 1;
/** Of a message that is part of a list. */
export const NLM_F_MULTI = 2;
export const NLM_F_ACK = 4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
/** The list changed while it was read. */
const NLM_F_DUMP_INTR = 0x10;
const NLA_F_NESTED = 0x8000;
/** Of the type of an attribute, without flags. */
export const NLA_TYPE_MASK = 0x3fff;
/** Length and type. */
export const ATTRIBUTE_BYTES = 4;

const HEADER_BYTES = 16;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;

export const aligned = (bytes: number) => (bytes + 3) & ~3;

/** One attribute: type and payload, padded to 4 bytes. */
export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(aligned(4 + payload.length));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + payload.length, true);
  view.setUint16(2, type, true);
  bytes.set(payload, 4);
  return bytes;
}

/** An attribute that holds attributes. */
export function nested(type: number, ...attributes: Uint8Array[]): Uint8Array {
  return attribute(type | NLA_F_NESTED, concat(...attributes));
}

export const text = (value: string) => Buffer.from(`${value}\0`, 'latin1');
/** The text before the first NUL. */
export function textOf(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? [])
    .toString('latin1')
    .replace(/\0.*$/s, '');
}
export const u32 = (value: number) => new Uint8Array(Int32Array.of(value).buffer);
/** 32 bits in network order, as nf_tables has them. */
export const be32 = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);

export function concat(...parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A message: header, then the family's own header and the attributes. */
export function message(type: number, flags: number, sequence: number, ...body: Uint8Array[]): Uint8Array {
  const payload = concat(...body);
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  view.setUint32(8, sequence, true);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** What a message takes with its padding. */
export const messageBytes = (payload: Uint8Array) => aligned(HEADER_BYTES + payload.length);

export interface Answer {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
}

/** The messages in a received datagram; stops at the first that is cut off. */
export function parseAnswers(bytes: Uint8Array): Answer[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const answers: Answer[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < HEADER_BYTES || at + length > bytes.length) break;
    const payload = bytes.slice(at + HEADER_BYTES, at + length);
    const [type, flags] = [view.getUint16(at + 4, true), view.getUint16(at + 6, true)];
    answers.push({ type, flags, sequence: view.getUint32(at + 8, true), payload });
    at += aligned(length);
  }
  return answers;
}

/** The first −errno (or 0: acknowledged) among answers; undefined when there is none. */
export function firstError(answers: readonly Answer[]): number | undefined {
  let result: number | undefined;
  for (const { type, payload } of answers) {
    if (type !== NLMSG_ERROR || payload.length < 4) continue;
    const error = new DataView(payload.buffer, payload.byteOffset).getInt32(0, true);
    if (error < 0) return error;
    result = 0;
  }
  return result;
}

/** Types of the attributes from `offset` on, without nesting flags. */
export function attributeTypes(payload: Uint8Array, offset: number): number[] {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const types: number[] = [];
  for (let at = offset; at + 4 <= payload.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4) break;
    types.push(view.getUint16(at + 2, true) & NLA_TYPE_MASK);
    at += aligned(length);
  }
  return types;
}

/** The attributes from `offset` on by type, without nesting flags; the last one of a type counts. */
export function attributes(payload: Uint8Array, offset: number): Map<number, Uint8Array> {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const all = new Map<number, Uint8Array>();
  for (let at = offset; at + 4 <= payload.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > payload.length) break;
    all.set(view.getUint16(at + 2, true) & NLA_TYPE_MASK, payload.slice(at + 4, at + length));
    at += aligned(length);
  }
  return all;
}

/** The payload of the first attribute of a type, not a copy. */
export function findAttribute(bytes: Uint8Array, wanted: number): Uint8Array | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) return undefined;
    if ((view.getUint16(at + 2, true) & NLA_TYPE_MASK) === wanted) return bytes.subarray(at + 4, at + length);
    at += aligned(length);
  }
  return undefined;
}

/** 32-bit words of the machine; a rest is left out. */
export function words(bytes: Uint8Array | undefined): number[] {
  if (bytes === undefined) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length >> 2 }, (_, i) => view.getUint32(i * 4, true));
}

/** Answers are copies of what is in it. */
const datagram = new Uint8Array(32 * 1024);

/** Sends a request over a socket of `protocol` and receives the first datagram; −errno on failure. */
export function ask(protocol: number, request: Uint8Array): Answer[] | number {
  const fd = syscall(SYS.socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) return fd;
  try {
    syscall(SYS.setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, BigUint64Array.of(1n, 0n), 16);
    const sent = syscall(SYS.sendto, fd, request, request.length, 0, 0, 0);
    if (sent < 0) return sent;
    const got = syscall(SYS.recvfrom, fd, datagram, datagram.length, 0, 0, 0);
    return got < 0 ? (got === -ERRNO.EAGAIN ? -ERRNO.ETIMEDOUT : got) : parseAnswers(datagram.subarray(0, got));
  } finally {
    close(fd);
  }
}

/** Sends a request with NLM_F_ACK: 0 or −errno. */
export function tryRequest(protocol: number, request: Uint8Array): number {
  const answers = ask(protocol, request);
  return typeof answers === 'number' ? answers : (firstError(answers) ?? 0);
}

const LIST_BYTES = 64 * 1024;
const LIST_TRIES = 10;

/** All objects that a request with NLM_F_DUMP lists, or −errno. A list that changed meanwhile is read again. */
export function list(protocol: number, request: Uint8Array): Answer[] | number {
  const fd = syscall(SYS.socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) return fd;
  try {
    for (let tries = 1; ; tries++) {
      const sent = syscall(SYS.sendto, fd, request, request.length, 0, 0, 0);
      const answers = sent < 0 ? sent : receiveList(fd);
      if (typeof answers === 'number' || tries === LIST_TRIES) return answers;
      if (answers.every(({ flags }) => (flags & NLM_F_DUMP_INTR) === 0)) return answers;
    }
  } finally {
    close(fd);
  }
}

function receiveList(fd: number): Answer[] | number {
  const all: Answer[] = [];
  const buffer = new Uint8Array(LIST_BYTES);
  for (;;) {
    const got = syscall(SYS.recvfrom, fd, buffer, buffer.length, 0, 0, 0);
    if (got === -ERRNO.EINTR) continue;
    if (got < 0) return got;
    const answers = parseAnswers(buffer.subarray(0, got));
    for (const answer of answers) {
      if (answer.type === NLMSG_DONE) return all;
      if (answer.type === NLMSG_ERROR) return firstError([answer]) || -ERRNO.EIO;
      all.push(answer);
    }
    if (answers.length === 0) return all;
  }
}
