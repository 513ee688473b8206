/**
 * What the kernel tells of UNIX sockets by sock_diag (man 7 sock_diag, linux/unix_diag.h): the request for all sockets of
 * a network namespace, and its answers. Parsing is pure.
 */

import { AF_UNIX } from '../linux/abi/socket.ts';
import { type Answer, message, NLM_F_DUMP, NLM_F_REQUEST, words } from './netlink.ts';
import { SOCK_DIAG_BY_FAMILY } from './sock-diag.ts';

const ALL_STATES = 0xffff_ffff;
const SHOW_NAME = 1;
const SHOW_VFS = 2;
const SHOW_PEER = 4;
const SHOW_ICONS = 8;
const SHOW_RQLEN = 0x10;

const ATTR_NAME = 0;
const ATTR_PEER = 2;
const ATTR_ICONS = 3;
const ATTR_RQLEN = 4;
const ATTR_SHUTDOWN = 6;

/** A UNIX socket as unix_diag shows it. */
export interface UnixDiag {
  readonly ino: number;
  /** SOCK_*. */
  readonly type: number;
  /** TCP_ESTABLISHED, TCP_CLOSE or TCP_LISTEN. */
  readonly state: number;
  /** Inode of the peer; 0 when there is none, or when it has no descriptor. */
  readonly peer: number;
  /** sun_path as it was given to bind, a NUL at the end included; a leading NUL means abstract; empty: no name. */
  readonly name: Uint8Array;
  /** Bytes that can be read (the first datagram's), or connections that wait for accept. */
  readonly receiveQueue: number;
  /** Bytes sent and not yet read, or the backlog of a listening socket. */
  readonly sendQueue: number;
  /** Sockets that wait in a listening one; 0 for one that was closed meanwhile. */
  readonly pending: readonly number[];
  /** RCV_SHUTDOWN (1), SEND_SHUTDOWN (2). */
  readonly shutdown: number;
}

/** In place of a cookie: any. */
const NO_COOKIE = 0xffff_ffff;

/** The request for all UNIX sockets, or for the one with an inode. */
export function unixDiagRequest(ino?: number): Uint8Array {
  const body = new Uint8Array(24);
  const view = new DataView(body.buffer);
  view.setUint8(0, AF_UNIX);
  view.setUint32(4, ALL_STATES, true);
  view.setUint32(8, ino ?? 0, true);
  view.setUint32(12, SHOW_NAME | SHOW_VFS | SHOW_PEER | SHOW_ICONS | SHOW_RQLEN, true);
  view.setUint32(16, NO_COOKIE, true);
  view.setUint32(20, NO_COOKIE, true);
  return message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | (ino === undefined ? NLM_F_DUMP : 0), 1, body);
}

const MESSAGE_BYTES = 16;
const NOTHING = new Uint8Array(0);

/** Undefined for messages of other kinds, and for those that are cut off. */
export function parseUnixDiag({ type, payload }: Answer): UnixDiag | undefined {
  if (type !== SOCK_DIAG_BY_FAMILY || payload.length < MESSAGE_BYTES || payload[0] !== AF_UNIX) return undefined;
  const socket = {
    ino: uint32(payload, 4),
    type: payload[1] ?? 0,
    state: payload[2] ?? 0,
    peer: 0,
    name: NOTHING,
    receiveQueue: 0,
    sendQueue: 0,
    pending: NOBODY,
    shutdown: 0,
  };
  // Thousands of sockets, with few attributes each: no map of them.
  for (let at = MESSAGE_BYTES; at + ATTR_BYTES <= payload.length; ) {
    const length = (payload[at] ?? 0) | ((payload[at + 1] ?? 0) << 8);
    const value = at + ATTR_BYTES;
    const end = at + length;
    if (length < ATTR_BYTES || end > payload.length) break;
    switch (((payload[at + 2] ?? 0) | ((payload[at + 3] ?? 0) << 8)) & TYPE_MASK) {
      case ATTR_NAME:
        socket.name = payload.slice(value, end);
        break;
      case ATTR_PEER:
        socket.peer = uint32(payload, value);
        break;
      case ATTR_ICONS:
        socket.pending = words(payload.subarray(value, end));
        break;
      case ATTR_RQLEN:
        socket.receiveQueue = uint32(payload, value);
        socket.sendQueue = uint32(payload, value + 4);
        break;
      case ATTR_SHUTDOWN:
        socket.shutdown = payload[value] ?? 0;
        break;
    }
    at += (length + ATTR_BYTES - 1) & ~(ATTR_BYTES - 1);
  }
  return socket;
}

const ATTR_BYTES = 4;
/** Without the flags for nesting and byte order. */
const TYPE_MASK = 0x3fff;
const NOBODY: number[] = [];

/** A word of the machine; what is not there counts as 0. */
function uint32(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
  return (low | ((bytes[at + 3] ?? 0) << 24)) >>> 0;
}
