/**
 * What only sock_diag (man 7 sock_diag) tells of Internet sockets: which directions of a UDP socket are shut down,
 * whether a TCP socket signs its segments, and what is between it and the program. Asked once for each family and protocol, when the first such socket is seen.
 */
import { IPPROTO_TCP, TCP_TIME_WAIT } from '../../../linux/abi/inet.ts';
import * as NL from '../../../netlink/netlink.ts';
import { SOCK_DIAG_BY_FAMILY } from '../../../netlink/sock-diag.ts';
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
  /** It has keys of TCP_MD5SIG. Only who has CAP_NET_ADMIN is told (net/ipv4/tcp_diag.c tcp_diag_get_aux()). */
  readonly hasKeys?: boolean;
  /** Upper layer protocol (TCP_ULP): "tls", or "" when there is none. */
  readonly ulp?: string;
}

/** struct inet_diag_msg, and its id at byte 4 (uapi/linux/inet_diag.h). */
const DIAG_BYTES = 72;
const REQUEST_BYTES = 56;
const INET_DIAG_INFO = 2;
const INET_DIAG_SHUTDOWN = 8;
const INET_DIAG_MD5SIG = 18;
const INET_DIAG_ULP_INFO = 19;
const INET_ULP_INFO_NAME = 1;
/** Those that nobody has a descriptor of are left out. */
const STATES = ~(1 << TCP_TIME_WAIT) >>> 0;

/** A dump request: struct inet_diag_req_v2. */
function packRequest(family: number, protocol: number): Uint8Array {
  const body = new Uint8Array(REQUEST_BYTES);
  body[0] = family;
  body[1] = protocol;
  // Keys come with struct tcp_info only (net/ipv4/inet_diag.c inet_sk_diag_fill()).
  if (protocol === IPPROTO_TCP) body[2] = 1 << (INET_DIAG_INFO - 1);
  new DataView(body.buffer).setUint32(4, STATES, true);
  return NL.message(SOCK_DIAG_BY_FAMILY, NL.NLM_F_REQUEST | NL.NLM_F_DUMP, 1, body);
}

/** A socket and its inode; undefined for messages of other kinds, and for those that are cut off. */
export function parseInetDiag({ type, payload }: NL.Answer): readonly [inode: number, KnownSocket] | undefined {
  if (type !== SOCK_DIAG_BY_FAMILY || payload.length < DIAG_BYTES) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const family = view.getUint8(0);
  const attributes = payload.subarray(DIAG_BYTES);
  const ulp = NL.findAttribute(attributes, INET_DIAG_ULP_INFO);
  const socket: KnownSocket = {
    state: view.getUint8(1),
    source: { port: view.getUint16(4), words: readWords(payload.subarray(8), family) },
    destination: { port: view.getUint16(6), words: readWords(payload.subarray(24), family) },
    rqueue: view.getUint32(56, true),
    wqueue: view.getUint32(60, true),
    shutdown: NL.findAttribute(attributes, INET_DIAG_SHUTDOWN)?.[0] ?? 0,
    hasKeys: NL.findAttribute(attributes, INET_DIAG_MD5SIG) !== undefined,
    ulp: ulp === undefined ? '' : NL.textOf(NL.findAttribute(ulp, INET_ULP_INFO_NAME)),
  };
  return [view.getUint32(68, true), socket];
}

/** All sockets of a family and protocol in our network namespace, by inode; −errno when the kernel does not tell. */
export function readDiag(family: number, protocol: number): ReadonlyMap<number, KnownSocket> | number {
  const answers = NL.list(NL.NETLINK_SOCK_DIAG, packRequest(family, protocol));
  if (typeof answers === 'number') return answers;
  return new Map(answers.map(parseInetDiag).filter((found) => found !== undefined));
}
