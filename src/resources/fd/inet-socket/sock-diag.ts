/**
 * What only sock_diag (man 7 sock_diag) tells of Internet sockets: which directions of a UDP socket are shut down,
 * whether a TCP socket signs its segments, and what is between it and the program. A busy machine has a hundred thousand
 * sockets, so the first TCP sockets are asked for one by one; for others all of a family and protocol are listed once.
 */
import { IPPROTO_TCP, TCP_TIME_WAIT } from '../../../linux/abi/inet.ts';
import * as NL from '../../../netlink/netlink.ts';
import { SOCK_DIAG_BY_FAMILY } from '../../../netlink/sock-diag.ts';
import { type InetAddress, wordsOf } from './address.ts';

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
const INODE_AT = 68;
const REQUEST_BYTES = 56;
const INET_DIAG_INFO = 2;
const INET_DIAG_SHUTDOWN = 8;
const INET_DIAG_MD5SIG = 18;
const INET_DIAG_ULP_INFO = 19;
const INET_ULP_INFO_NAME = 1;
/** Those that nobody has a descriptor of are left out. */
const STATES = ~(1 << TCP_TIME_WAIT) >>> 0;

/** Whatever its cookie (INET_DIAG_NOCOOKIE). */
const ANY_COOKIE = 0xffff_ffff;

/** Addresses of both ends of a TCP socket; those of a listening one that are not known are 0. */
interface Ends {
  readonly source: InetAddress;
  readonly destination: InetAddress;
}

/** struct inet_diag_req_v2: for the one socket with these addresses, or for all. */
function packRequest(family: number, protocol: number, ends?: Ends): Uint8Array {
  const body = new Uint8Array(REQUEST_BYTES);
  const view = new DataView(body.buffer);
  body[0] = family;
  body[1] = protocol;
  // Keys come with struct tcp_info only (net/ipv4/inet_diag.c inet_sk_diag_fill()).
  if (protocol === IPPROTO_TCP) body[2] = 1 << (INET_DIAG_INFO - 1);
  view.setUint32(4, STATES, true);
  if (ends !== undefined) {
    const put = ({ port, words }: InetAddress, portAt: number, at: number) => {
      view.setUint16(portAt, port);
      for (const [i, word] of words.entries()) view.setUint32(at + 4 * i, word, true);
    };
    put(ends.source, 8, 12);
    put(ends.destination, 10, 28);
    for (const at of [48, 52]) view.setUint32(at, ANY_COOKIE, true);
  }
  return NL.message(SOCK_DIAG_BY_FAMILY, NL.NLM_F_REQUEST | (ends === undefined ? NL.NLM_F_DUMP : 0), 1, body);
}

/** A socket and its inode; undefined for messages of other kinds, and for those that are cut off. */
export function parseInetDiag({ type, payload }: NL.Answer): readonly [inode: number, KnownSocket] | undefined {
  if (type !== SOCK_DIAG_BY_FAMILY || payload.length < DIAG_BYTES) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const family = view.getUint8(0);
  const socket: KnownSocket = {
    state: view.getUint8(1),
    source: addressAt(view, 4, 8, family),
    destination: addressAt(view, 6, 24, family),
    rqueue: view.getUint32(56, true),
    wqueue: view.getUint32(60, true),
    ...parseAttributes(payload, view),
  };
  return [view.getUint32(INODE_AT, true), socket];
}

function addressAt(view: DataView, portAt: number, at: number, family: number): InetAddress {
  const words = [view.getUint32(at, true)];
  for (let i = 1; i < wordsOf(family); i++) words.push(view.getUint32(at + 4 * i, true));
  return { port: view.getUint16(portAt), words };
}

function parseAttributes(payload: Uint8Array, view: DataView): Pick<KnownSocket, 'shutdown' | 'hasKeys' | 'ulp'> {
  let [shutdown, hasKeys, ulp] = [0, false, ''];
  for (let at = DIAG_BYTES; at + NL.ATTRIBUTE_BYTES <= payload.length; ) {
    const length = view.getUint16(at, true);
    if (length < NL.ATTRIBUTE_BYTES || at + length > payload.length) break;
    const start = at + NL.ATTRIBUTE_BYTES;
    switch (view.getUint16(at + 2, true) & NL.NLA_TYPE_MASK) {
      case INET_DIAG_SHUTDOWN:
        shutdown = length > NL.ATTRIBUTE_BYTES ? (payload[start] ?? 0) : 0;
        break;
      case INET_DIAG_MD5SIG:
        hasKeys = true;
        break;
      case INET_DIAG_ULP_INFO:
        ulp = NL.textOf(NL.findAttribute(payload.subarray(start, at + length), INET_ULP_INFO_NAME));
        break;
    }
    at += NL.aligned(length);
  }
  return { shutdown, hasKeys, ulp };
}

/** The sockets of a list, which are looked at when they are asked for: most are somebody else's. */
export class KnownSockets {
  readonly #answers = new Map<number, NL.Answer>();

  constructor(answers: readonly NL.Answer[]) {
    for (const answer of answers) {
      if (answer.payload.length < DIAG_BYTES) continue;
      const { buffer, byteOffset } = answer.payload;
      this.#answers.set(new DataView(buffer, byteOffset + INODE_AT, 4).getUint32(0, true), answer);
    }
  }

  get(inode: number): KnownSocket | undefined {
    const answer = this.#answers.get(inode);
    return answer && parseInetDiag(answer)?.[1];
  }
}

/** All sockets of a family and protocol in our network namespace; −errno when the kernel does not tell. */
export function readDiag(family: number, protocol: number): KnownSockets | number {
  const answers = NL.list(NL.NETLINK_SOCK_DIAG, packRequest(family, protocol));
  return typeof answers === 'number' ? answers : new KnownSockets(answers);
}

/**
 * The TCP socket with these addresses and this inode. Undefined when the kernel finds none, or another one (several can
 * listen at the same port), so that nothing is known.
 */
export function tryFindTcp(family: number, ends: Ends, inode: number): KnownSocket | undefined {
  const answers = NL.ask(NL.NETLINK_SOCK_DIAG, packRequest(family, IPPROTO_TCP, ends));
  const [answer] = typeof answers === 'number' ? [] : answers;
  const found = answer && parseInetDiag(answer);
  return found?.[0] === inode ? found[1] : undefined;
}
