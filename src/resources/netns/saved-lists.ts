/**
 * Addresses, routes and rules of a namespace: images in the format of `ip address save`, `ip route save` and `ip rule
 * save` of iproute2, a magic number and then the messages with which the kernel lists them. Sent back with other flags
 * they make the same again. Pure.
 */
import { CriuError } from '../../base/errors.ts';
import * as RT from '../../linux/abi/rtnetlink.ts';
import { AF_INET6 } from '../../linux/abi/socket.ts';
import * as NL from '../../netlink/netlink.ts';

/** Images, with their magic (iproute2: ip/ipaddress.c, ip/iproute.c, ip/iprule.c) and the message that they consist of. */
export const LISTS = {
  ifaddr: { magic: 0x4736_1222, type: RT.RTM_NEWADDR, nouns: 'addresses' },
  route: { magic: 0x4531_1224, type: RT.RTM_NEWROUTE, nouns: 'routes' },
  route6: { magic: 0x4531_1224, type: RT.RTM_NEWROUTE, nouns: 'IPv6 routes' },
  rule: { magic: 0x7170_6986, type: RT.RTM_NEWRULE, nouns: 'routing rules' },
} as const;

export type ListName = keyof typeof LISTS;

const MAGIC_BYTES = 4;

/** The image of a list, each item the payload of a message. */
export function packList(name: ListName, items: readonly Uint8Array[]): Uint8Array {
  const { magic, type } = LISTS[name];
  return NL.concat(NL.u32(magic), ...items.map((item) => NL.message(type, NL.NLM_F_MULTI, 1, item)));
}

/** The items of an image. Throws CriuError when it is none. */
export function parseList(name: ListName, image: Uint8Array): Uint8Array[] {
  const { magic, type, nouns } = LISTS[name];
  // CRIU leaves an empty file where the kernel has no such list.
  if (image.length === 0) return [];
  const broken = (why: string) => new CriuError({ object: `${name} image`, action: `is no list of ${nouns}`, why });
  if (NL.words(image)[0] !== magic) throw broken('it begins with another magic number');
  const answers = NL.parseAnswers(image.subarray(MAGIC_BYTES));
  const bytes = answers.reduce((sum, { payload }) => sum + NL.messageBytes(payload), 0);
  if (bytes !== image.length - MAGIC_BYTES) throw broken('a message is cut off');
  for (const answer of answers) {
    if (answer.type !== type || answer.payload.length < RT.IFADDRMSG.bytes) {
      throw broken(`there is a message of type ${answer.type}`);
    }
  }
  return answers.map(({ payload }) => payload);
}

const familyOf = (item: Uint8Array) => item[0] ?? 0;

/** The table of a route or rule, which may not fit the header. */
function tableOf(item: Uint8Array): number {
  return NL.words(NL.attributes(item, RT.RTMSG.bytes).get(RT.RTA_TABLE))[0] ?? item[RT.RTMSG.table] ?? 0;
}

/**
 * Whether a route is there without anybody's doing: those of the table "local", which the kernel makes for addresses, and
 * those that a connection has found (cloned). CRIU keeps the table "main" only.
 */
export function isMadeByKernel(route: Uint8Array): boolean {
  const view = new DataView(route.buffer, route.byteOffset, route.byteLength);
  if (route.length < RT.RTMSG.bytes || (view.getUint32(RT.RTMSG.flags, true) & RT.RTM_F_CLONED) !== 0) return true;
  const table = tableOf(route);
  return table === 0 || (table === RT.RT_TABLE_LOCAL && route[RT.RTMSG.protocol] === RT.RTPROT_KERNEL);
}

/** Whether a route goes by a nexthop object (ip nexthop), which no image has. */
export const usesNexthop = (route: Uint8Array) => NL.attributes(route, RT.RTMSG.bytes).has(RT.RTA_NH_ID);

/** Two addresses or routes with the same key are the same one, whatever else has changed. */
export function keyOf(name: ListName, item: Uint8Array): string {
  if (name === 'ifaddr') {
    const view = new DataView(item.buffer, item.byteOffset, item.byteLength);
    const attributes = NL.attributes(item, RT.IFADDRMSG.bytes);
    const address = attributes.get(RT.IFA_LOCAL) ?? attributes.get(RT.IFA_ADDRESS) ?? [];
    return [familyOf(item), item[RT.IFADDRMSG.prefixlen], view.getUint32(RT.IFADDRMSG.index, true), ...address].join();
  }
  if (name === 'rule') return item.join();
  const attributes = NL.attributes(item, RT.RTMSG.bytes);
  const parts = [RT.RTA_DST, RT.RTA_PRIORITY, RT.RTA_OIF, RT.RTA_GATEWAY].map((type) =>
    attributes.get(type)?.join('.'),
  );
  // Family, lengths of prefixes, TOS; type.
  return [...item.subarray(0, RT.RTMSG.table), tableOf(item), item[RT.RTMSG.type], ...parts].join();
}

/** A rule for IPv6 that every namespace has. There is no place for those in CRIU's images. */
export function isUsualRule6(rule: Uint8Array): boolean {
  if (familyOf(rule) !== AF_INET6) return false;
  const attributes = NL.attributes(rule, RT.RULEMSG.bytes);
  const priority = NL.words(attributes.get(RT.FRA_PRIORITY))[0] ?? 0;
  return (
    (priority === 0 && tableOf(rule) === RT.RT_TABLE_LOCAL) ||
    (priority === 32_766 && tableOf(rule) === RT.RT_TABLE_MAIN)
  );
}

/** Flags of an address, which may not fit the header. */
function flagsOf(address: Uint8Array): number {
  const own = NL.findAttribute(address.subarray(RT.IFADDRMSG.bytes), RT.IFA_FLAGS);
  return NL.words(own)[0] ?? address[RT.IFADDRMSG.flags] ?? 0;
}

/** Whether the kernel still looks whether an IPv6 address is somebody else's (RFC 4862, DAD): it cannot be bound to. */
export const isTentative = (address: Uint8Array) =>
  familyOf(address) === AF_INET6 && (flagsOf(address) & RT.IFA_F_TENTATIVE) !== 0;

/** An IPv6 address that is known to be nobody else's, with flags so that it is not looked for again. */
export function withoutSearch(address: Uint8Array): Uint8Array | undefined {
  const isSettled = (flagsOf(address) & (RT.IFA_F_NODAD | RT.IFA_F_TENTATIVE | RT.IFA_F_DADFAILED)) === 0;
  if (familyOf(address) !== AF_INET6 || !isSettled) return undefined;
  const copy = address.slice();
  copy[RT.IFADDRMSG.flags] = (copy[RT.IFADDRMSG.flags] ?? 0) | RT.IFA_F_NODAD;
  const copied = NL.findAttribute(copy.subarray(RT.IFADDRMSG.bytes), RT.IFA_FLAGS);
  if (copied !== undefined) copied[0] = (copied[0] ?? 0) | RT.IFA_F_NODAD;
  return copy;
}
