/**
 * Connections that the packet filter follows, and those that it expects: images of ctnetlink messages as the kernel lists
 * them (linux/netfilter/nfnetlink_conntrack.h). CRIU's netns-exp has the connections once more instead.
 */
import { CriuError } from '../../base/errors.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { AF_INET, AF_INET6 } from '../../linux/abi/socket.ts';
import { tryReadProc } from '../../linux/syscalls/fs.ts';
import * as NL from '../../netlink/netlink.ts';
import { SETTINGS_ROOT } from './setting-files.ts';

/** The subsystem of nfnetlink, and the message that makes one; the next number lists them all. */
export const CONNTRACK_LISTS = {
  'netns-ct': { subsystem: 1, nouns: 'followed connections' },
  'netns-exp': { subsystem: 2, nouns: 'expected connections' },
} as const;

export type ConntrackList = keyof typeof CONNTRACK_LISTS;

const NFGENMSG_BYTES = 4;
/** CRIU sends the messages as they are, and waits for an answer with this number (CR_NLMSG_SEQ). */
const SEQUENCE = 24_680;
const NEW = 0;
const GET = 1;
const typeOf = (list: ConntrackList, message: number) => (CONNTRACK_LISTS[list].subsystem << 8) | message;

/** The image of a list of the namespace that we are in. Throws CriuError. */
export function readConntrack(list: ConntrackList): Uint8Array {
  // To ask would load a module of the kernel, or have it walk through a big table. Who is expected belongs to a connection.
  const count = tryReadProc(`${SETTINGS_ROOT}/net/netfilter/nf_conntrack_count`);
  if (typeof count === 'number' || Number(count) === 0) return new Uint8Array(0);
  const header = new Uint8Array(NFGENMSG_BYTES);
  const request = NL.message(typeOf(list, GET), NL.NLM_F_REQUEST | NL.NLM_F_DUMP, 1, header);
  const answers = NL.list(NL.NETLINK_NETFILTER, request);
  if (typeof answers === 'number') {
    if (answers === -ERRNO.EINVAL || answers === -ERRNO.EOPNOTSUPP) return new Uint8Array(0);
    throw new CriuError({
      object: `${CONNTRACK_LISTS[list].nouns} of the network namespace`,
      action: `cannot be listed (ctnetlink: ${errnoName(-answers)})`,
      crErrno: -answers,
    });
  }
  return NL.concat(...answers.map(({ type, flags, payload }) => NL.message(type, flags, SEQUENCE, payload)));
}

/** What is to be sent for an image. Throws CriuError when it is none. Pure. */
export function planConntrack(list: ConntrackList, image: Uint8Array): Uint8Array[] {
  const answers = NL.parseAnswers(image);
  const bytes = answers.reduce((sum, { payload }) => sum + NL.messageBytes(payload), 0);
  const isBroken = bytes !== image.length || answers.some(({ type, payload }) => !isKnown(type) || payload.length < 4);
  if (isBroken) {
    const action = `is no list of ${CONNTRACK_LISTS[list].nouns}`;
    throw new CriuError({ object: `${list} image`, action });
  }
  return answers.flatMap(({ type, payload }) => {
    if (type !== typeOf(list, NEW)) return [];
    const body = list === 'netns-ct' ? liberal(payload) : payload;
    return [NL.message(type, NL.NLM_F_REQUEST | NL.NLM_F_ACK | NL.NLM_F_CREATE, 1, body)];
  });
}

const isKnown = (type: number) => type === typeOf('netns-ct', NEW) || type === typeOf('netns-exp', NEW);

const CTA_PROTOINFO = 4;
const CTA_PROTOINFO_TCP = 1;
const FLAGS_OF_BOTH = [4, 5]; // CTA_PROTOINFO_TCP_FLAGS_ORIGINAL and _REPLY
const IP_CT_TCP_FLAG_BE_LIBERAL = 8;

/** The filter does not know the windows of a TCP connection any more: it must not judge by them. */
function liberal(payload: Uint8Array): Uint8Array {
  if (payload[0] !== AF_INET && payload[0] !== AF_INET6) return payload;
  const copy = payload.slice();
  const info = NL.findAttribute(copy.subarray(NFGENMSG_BYTES), CTA_PROTOINFO);
  const tcp = info && NL.findAttribute(info, CTA_PROTOINFO_TCP);
  for (const type of tcp === undefined ? [] : FLAGS_OF_BOTH) {
    // struct nf_ct_tcp_flags: flags, mask.
    const flags = tcp && NL.findAttribute(tcp, type);
    if (flags === undefined || flags.length < 2) continue;
    for (let i = 0; i < 2; i++) flags[i] = (flags[i] ?? 0) | IP_CT_TCP_FLAG_BE_LIBERAL;
  }
  return copy;
}

/** Makes them in the namespace that we are in. Throws CriuError. */
export function restoreConntrack(list: ConntrackList, requests: readonly Uint8Array[]): void {
  for (const request of requests) {
    const result = NL.tryRequest(NL.NETLINK_NETFILTER, request);
    if (result === 0 || result === -ERRNO.EEXIST) continue;
    throw new CriuError({
      object: `${CONNTRACK_LISTS[list].nouns} of the network namespace`,
      action: `cannot be made again (ctnetlink: ${errnoName(-result)})`,
      crErrno: -result,
    });
  }
}
