/**
 * Network devices of a namespace, as a dump sees them: netdev-N.img. The loopback device is there in every namespace;
 * pairs of veth devices, also to other namespaces, dummy and ifb devices are made again. Other kinds are refused.
 *
 * CRIU has no type for dummy and ifb. They are written as those that a script makes before the restore (EXTLINK), with
 * the kind beside it, so that CRIU restores them when such a script has made them.
 */
import { CriuError, type CriuErrorFields } from '../../base/errors.ts';
import { NdType, type NetDeviceEntry } from '../../image/gen/netdev.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import * as RT from '../../linux/abi/rtnetlink.ts';
import * as NL from '../../netlink/netlink.ts';
import { describeSettings, type ReadSetting } from './device-settings.ts';

export interface Link {
  readonly index: number;
  /** ARPHRD_*. */
  readonly type: number;
  readonly flags: number;
  readonly mtu: number;
  readonly name: string;
  /** IFLA_INFO_KIND; undefined for hardware and the loopback device. */
  readonly kind: string | undefined;
  readonly address: Uint8Array;
  readonly hasXdp: boolean;
  /** Index of the other end of a pair, and whether that is in another namespace. */
  readonly peer: { readonly index: number; readonly isOutside: boolean } | undefined;
  /** Attributes that are not as those of a new device. */
  readonly others: Uint8Array;
}

const TXQLEN = 1000; // DEFAULT_TX_QUEUE_LEN
const UNCHANGED: ReadonlyMap<number, readonly number[]> = new Map([
  [RT.IFLA_TXQLEN, [...NL.u32(TXQLEN)]],
  [RT.IFLA_GROUP, [...NL.u32(0)]],
  [RT.IFLA_IFALIAS, []],
]);

/** Parses the payload of RTM_NEWLINK; undefined when it is cut off. */
export function parseLink(payload: Uint8Array): Link | undefined {
  if (payload.length < RT.IFINFOMSG.bytes) return undefined;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = NL.attributes(payload, RT.IFINFOMSG.bytes);
  const inner = (type: number) => NL.attributes(attributes.get(type) ?? new Uint8Array(0), 0);
  const kind = inner(RT.IFLA_LINKINFO).get(RT.IFLA_INFO_KIND);
  const others = [...UNCHANGED].flatMap(([type, usual]) => {
    const value = attributes.get(type);
    return value === undefined || Bun.deepEquals([...value], usual) ? [] : [NL.attribute(type, value)];
  });
  const peer = NL.words(attributes.get(RT.IFLA_LINK))[0];
  return {
    index: view.getInt32(RT.IFINFOMSG.index, true),
    type: view.getUint16(RT.IFINFOMSG.type, true),
    flags: view.getUint32(RT.IFINFOMSG.flags, true),
    mtu: NL.words(attributes.get(RT.IFLA_MTU))[0] ?? 0,
    name: NL.textOf(attributes.get(RT.IFLA_IFNAME)),
    kind: kind === undefined ? undefined : NL.textOf(kind),
    address: attributes.get(RT.IFLA_ADDRESS) ?? new Uint8Array(0),
    hasXdp: (inner(RT.IFLA_XDP).get(RT.IFLA_XDP_ATTACHED)?.[0] ?? 0) !== 0,
    peer: peer === undefined ? undefined : { index: peer, isOutside: attributes.has(RT.IFLA_LINK_NETNSID) },
    others: NL.concat(...others),
  };
}

/** All devices of the namespace that we are in. Throws CriuError. */
export function listLinks(): Link[] {
  const request = NL.message(RT.RTM_GETLINK, NL.NLM_F_REQUEST | NL.NLM_F_DUMP, 1, new Uint8Array(RT.IFINFOMSG.bytes));
  const answers = NL.list(NL.NETLINK_ROUTE, request);
  if (typeof answers === 'number') {
    const action = `cannot be listed (RTM_GETLINK: ${errnoName(-answers)})`;
    throw new CriuError({ object: 'the network devices of the tree', action, crErrno: -answers });
  }
  return answers.flatMap(({ type, payload }) => (type === RT.RTM_NEWLINK ? (parseLink(payload) ?? []) : []));
}

/** Kinds that are made again with nothing but what every device has. */
export const PLAIN_KINDS: ReadonlySet<string> = new Set(['dummy', 'ifb']);

/** Every namespace has these as soon as their module is loaded (net.core.fb_tunnels_only_for_init_net). */
const FALLBACK_NAMES: ReadonlySet<string> = new Set([
  ...['tunl0', 'gre0', 'gretap0', 'erspan0', 'ip_vti0', 'sit0', 'ip6tnl0', 'ip6gre0', 'ip6_vti0'],
]);

const isLoopback = ({ type }: Link) => type === RT.ARPHRD_LOOPBACK;
const isUnusedFallback = ({ name, flags }: Link) => FALLBACK_NAMES.has(name) && (flags & RT.IFF_UP) === 0;

/** Why devices cannot be saved. Pure. */
export function findLinkProblems(links: readonly Link[]): CriuErrorFields[] {
  return links.flatMap((link) => {
    const { name, kind, hasXdp } = link;
    const object = `network device ${name} (${kind ?? (isLoopback(link) ? 'loopback' : 'hardware')})`;
    const action = 'cannot be dumped';
    if (hasXdp) return [{ object, action, why: 'an XDP program is attached to it' }];
    if (isLoopback(link) || isUnusedFallback(link) || PLAIN_KINDS.has(kind ?? '')) return [];
    if (kind === 'veth' && link.peer !== undefined) return [];
    const why = 'devices of this kind are not supported yet by this criu';
    const remedy = 'leave the namespace to others: --empty-ns net, or --external net[INODE]:NAME';
    return [{ object, action, why, remedy }];
  });
}

function typeOf(link: Link): NdType {
  if (isLoopback(link)) return NdType.LOOPBACK;
  return link.kind === 'veth' ? NdType.VETH : NdType.EXTLINK;
}

/** The entries of devices without problems, but for the number of the namespace (peer_nsid). Pure but for `read`. */
export function describeLinks(links: readonly Link[], read: ReadSetting): NetDeviceEntry[] {
  return links
    .filter((link) => !isUnusedFallback(link))
    .map((link) => {
      const { index, mtu, flags, name, kind, address, peer, others } = link;
      return {
        type: typeOf(link),
        ifindex: index,
        mtu,
        flags,
        name,
        ...(isLoopback(link) ? {} : { address }),
        ...(PLAIN_KINDS.has(kind ?? '') ? { kind_ext: kind } : {}),
        conf: [],
        conf4: describeSettings('ipv4', name, read),
        conf6: describeSettings('ipv6', name, read),
        peer_ifindex: peer?.index ?? index,
        ...(peer?.isOutside === true ? {} : { peer_nsid: 0 }),
        ...(others.length === 0 ? {} : { attributes_ext: others }),
      };
    });
}
