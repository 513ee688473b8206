/**
 * What the kernel tells of UNIX sockets by sock_diag (man 7 sock_diag, linux/unix_diag.h): the request for all sockets of
 * a network namespace, and its answers. Parsing is pure.
 */

import { AF_UNIX } from '../linux/abi/socket.ts';
import { type Answer, attributes, message, NLM_F_DUMP, NLM_F_REQUEST, words } from './netlink.ts';
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

/** The request for all UNIX sockets. */
export function unixDiagRequest(): Uint8Array {
  const body = new Uint8Array(24);
  const view = new DataView(body.buffer);
  view.setUint8(0, AF_UNIX);
  view.setUint32(4, ALL_STATES, true);
  view.setUint32(12, SHOW_NAME | SHOW_VFS | SHOW_PEER | SHOW_ICONS | SHOW_RQLEN, true);
  return message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, body);
}

const MESSAGE_BYTES = 16;
const NOTHING = new Uint8Array(0);

/** Undefined for messages of other kinds, and for those that are cut off. */
export function parseUnixDiag({ type, payload }: Answer): UnixDiag | undefined {
  if (type !== SOCK_DIAG_BY_FAMILY || payload.length < MESSAGE_BYTES || payload[0] !== AF_UNIX) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const all = attributes(payload, MESSAGE_BYTES);
  const [receiveQueue = 0, sendQueue = 0] = words(all.get(ATTR_RQLEN));
  return {
    ino: view.getUint32(4, true),
    type: view.getUint8(1),
    state: view.getUint8(2),
    peer: words(all.get(ATTR_PEER))[0] ?? 0,
    name: all.get(ATTR_NAME) ?? NOTHING,
    receiveQueue,
    sendQueue,
    pending: words(all.get(ATTR_ICONS)),
    shutdown: all.get(ATTR_SHUTDOWN)?.[0] ?? 0,
  };
}
