/**
 * What only sock_diag (man 7 sock_diag) tells of UDP sockets: which directions are shut down. Asked once for each family
 * and protocol, when the first such socket is seen.
 */
import { ERRNO } from '../../../linux/abi/errno.ts';
import { AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../../linux/kernel.ts';
import { close } from '../../../linux/syscalls/fs.ts';
import { type InetAddress, readWords } from './address.ts';

/** What the kernel tells of a socket in a list of all. */
export interface KnownSocket {
  readonly state: number;
  readonly source: InetAddress;
  readonly destination: InetAddress;
  /** Bytes of memory that received packets take. */
  readonly rqueue: number;
  readonly wqueue: number;
  /** RCV_SHUTDOWN 1, SEND_SHUTDOWN 2. */
  readonly shutdown: number;
}

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const NLM_F_REQUEST = 1;
const NLM_F_DUMP = 0x300;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLMSG_HEADER_BYTES = 16;
const NLA_HEADER_BYTES = 4;
/** struct inet_diag_msg, and its id at byte 4 (uapi/linux/inet_diag.h). */
const DIAG_BYTES = 72;
const REQUEST_BYTES = 56;
const INET_DIAG_SHUTDOWN = 8;
const ALL_STATES = 0xffff_ffff;

/** A dump request: struct nlmsghdr and struct inet_diag_req_v2. */
function packRequest(family: number, protocol: number): Uint8Array {
  const bytes = new Uint8Array(NLMSG_HEADER_BYTES + REQUEST_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, SOCK_DIAG_BY_FAMILY, true);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, true);
  view.setUint8(NLMSG_HEADER_BYTES, family);
  view.setUint8(NLMSG_HEADER_BYTES + 1, protocol);
  view.setUint32(NLMSG_HEADER_BYTES + 4, ALL_STATES, true);
  return bytes;
}

const aligned = (bytes: number) => (bytes + 3) & ~3;

/**
 * Adds the sockets in a datagram of answers to `sockets`, by inode. Returns 'more', or 'done' after the last one, or
 * the −errno in it. Whatever is cut off is left out.
 */
export function parseAnswer(datagram: Uint8Array, sockets: Map<number, KnownSocket>): 'more' | 'done' | number {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  for (let at = 0; at + NLMSG_HEADER_BYTES <= datagram.length; ) {
    const length = view.getUint32(at, true);
    const type = view.getUint16(at + 4, true);
    if (length < NLMSG_HEADER_BYTES || at + length > datagram.length) return 'done';
    if (type === NLMSG_DONE) return 'done';
    const payload = datagram.subarray(at + NLMSG_HEADER_BYTES, at + length);
    if (type === NLMSG_ERROR) return payload.length < 4 ? 'done' : view.getInt32(at + NLMSG_HEADER_BYTES, true);
    if (type === SOCK_DIAG_BY_FAMILY && payload.length >= DIAG_BYTES) addSocket(payload, sockets);
    at += aligned(length);
  }
  return 'more';
}

function addSocket(payload: Uint8Array, sockets: Map<number, KnownSocket>): void {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const family = view.getUint8(0);
  sockets.set(view.getUint32(68, true), {
    state: view.getUint8(1),
    source: { port: view.getUint16(4), words: readWords(payload.subarray(8), family) },
    destination: { port: view.getUint16(6), words: readWords(payload.subarray(24), family) },
    rqueue: view.getUint32(56, true),
    wqueue: view.getUint32(60, true),
    shutdown: attributeByte(payload.subarray(DIAG_BYTES), INET_DIAG_SHUTDOWN) ?? 0,
  });
}

function attributeByte(attributes: Uint8Array, wanted: number): number | undefined {
  const view = new DataView(attributes.buffer, attributes.byteOffset, attributes.byteLength);
  for (let at = 0; at + NLA_HEADER_BYTES <= attributes.length; ) {
    const length = view.getUint16(at, true);
    if (length < NLA_HEADER_BYTES || at + length > attributes.length) return undefined;
    if (view.getUint16(at + 2, true) === wanted && length > NLA_HEADER_BYTES) {
      return view.getUint8(at + NLA_HEADER_BYTES);
    }
    at += aligned(length);
  }
  return undefined;
}

const ANSWER_BYTES = 32 * 1024;

/** All sockets of a family and protocol in our network namespace, by inode; −errno when the kernel does not tell. */
export function readDiag(family: number, protocol: number): ReadonlyMap<number, KnownSocket> | number {
  const fd = syscall(SYS.socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
  if (fd < 0) return fd;
  try {
    const request = packRequest(family, protocol);
    const sent = syscall(SYS.sendto, fd, request, request.length, 0, 0, 0);
    if (sent < 0) return sent;
    const sockets = new Map<number, KnownSocket>();
    const buffer = new Uint8Array(ANSWER_BYTES);
    for (;;) {
      const got = syscall(SYS.recvfrom, fd, buffer, buffer.length, 0, 0, 0);
      if (got === -ERRNO.EINTR) continue;
      if (got <= 0) return got === 0 ? sockets : got;
      const result = parseAnswer(buffer.subarray(0, got), sockets);
      if (typeof result === 'number') return result;
      if (result === 'done') return sockets;
    }
  } finally {
    close(fd);
  }
}
