/**
 * Network devices of a namespace: netdev-N.img. The loopback device is there in every namespace and gets its state back;
 * dummy and ifb devices are made again. Devices of other kinds are refused.
 *
 * CRIU has no type for these. They are written as those that a script makes before the restore (EXTLINK), with the
 * kind beside it, so that CRIU restores them when such a script has made them.
 */
import { CriuError, type CriuErrorFields } from '../../base/errors.ts';
import { NdType, type NetDeviceEntry } from '../../image/gen/netdev.ts';
import type { SysctlEntry } from '../../image/gen/sysctl.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import * as RT from '../../linux/abi/rtnetlink.ts';
import * as NL from '../../netlink/netlink.ts';
import { describeSettings, planSettings, type ReadSetting, type Setting } from './device-settings.ts';

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
  return {
    index: view.getInt32(RT.IFINFOMSG.index, true),
    type: view.getUint16(RT.IFINFOMSG.type, true),
    flags: view.getUint32(RT.IFINFOMSG.flags, true),
    mtu: NL.words(attributes.get(RT.IFLA_MTU))[0] ?? 0,
    name: NL.textOf(attributes.get(RT.IFLA_IFNAME)),
    kind: kind === undefined ? undefined : NL.textOf(kind),
    address: attributes.get(RT.IFLA_ADDRESS) ?? new Uint8Array(0),
    hasXdp: (inner(RT.IFLA_XDP).get(RT.IFLA_XDP_ATTACHED)?.[0] ?? 0) !== 0,
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
const PLAIN_KINDS: ReadonlySet<string> = new Set(['dummy', 'ifb']);

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
    const why = 'devices of this kind are not supported yet by this criu';
    const remedy = 'leave the namespace to others: --empty-ns net, or --external net[INODE]:NAME';
    return [{ object, action, why, remedy }];
  });
}

/** The entries of devices without problems, but for the number of the namespace. Pure but for `read`. */
export function describeLinks(links: readonly Link[], read: ReadSetting): NetDeviceEntry[] {
  return links
    .filter((link) => !isUnusedFallback(link))
    .map((link) => {
      const { index, mtu, flags, name, kind, address, others } = link;
      const isOwnKind = !isLoopback(link);
      return {
        type: isOwnKind ? NdType.EXTLINK : NdType.LOOPBACK,
        ifindex: index,
        mtu,
        flags,
        name,
        ...(isOwnKind ? { address, kind_ext: kind } : {}),
        conf: [],
        conf4: describeSettings('ipv4', name, read),
        conf6: describeSettings('ipv6', name, read),
        peer_ifindex: index,
        ...(others.length === 0 ? {} : { attributes_ext: others }),
      };
    });
}

const TYPE_NAMES = Object.fromEntries(Object.entries(NdType).map(([name, type]) => [type, name]));

/** Devices in images that cannot be restored. Pure. */
export function findEntryProblems(entries: readonly NetDeviceEntry[]): CriuErrorFields[] {
  return entries.flatMap(({ type, name, kind_ext }) => {
    if (!isDeviceName(name))
      return [{ object: `network device '${name}'`, action: 'has a name that no device can have' }];
    const isKnownKind = kind_ext === undefined || PLAIN_KINDS.has(kind_ext);
    if (type === NdType.LOOPBACK || (type === NdType.EXTLINK && isKnownKind)) return [];
    const object = `network device ${name} (${(kind_ext ?? TYPE_NAMES[type] ?? `${type}`).toLowerCase()})`;
    const why = 'devices of this kind are not supported yet by this criu';
    return [{ object, action: 'cannot be restored', why, remedy: 'use --join-ns net:FILE or --empty-ns net' }];
  });
}

/** dev_valid_name() in net/core/dev.c; files of /proc/sys are named so. */
const isDeviceName = (name: string) => /^[^/:\s]{1,15}$/.test(name) && name !== '.' && name !== '..';

/** Flags of a device that are set by people; the others show what it is and does. */
const SETTABLE =
  RT.IFF_UP | RT.IFF_DEBUG | RT.IFF_NOARP | RT.IFF_PROMISC | RT.IFF_ALLMULTI | RT.IFF_MULTICAST | RT.IFF_DYNAMIC;

/** The request that makes a device, or finds the one that is there; it is down afterwards. Pure. */
export function describeNewLink({ ifindex, mtu, name, address, kind_ext }: NetDeviceEntry): Uint8Array {
  const isNew = kind_ext !== undefined;
  const attributes = [NL.attribute(RT.IFLA_IFNAME, NL.text(name)), NL.attribute(RT.IFLA_MTU, NL.u32(mtu))];
  if (address !== undefined && address.length > 0) attributes.push(NL.attribute(RT.IFLA_ADDRESS, address));
  if (isNew) {
    attributes.push(NL.nested(RT.IFLA_LINKINFO, NL.attribute(RT.IFLA_INFO_KIND, NL.text(kind_ext))));
  }
  const flags = NL.NLM_F_REQUEST | NL.NLM_F_ACK | (isNew ? NL.NLM_F_CREATE | NL.NLM_F_EXCL : 0);
  return NL.message(RT.RTM_NEWLINK, flags, 1, header(isNew ? ifindex : 0, 0, 0), ...attributes);
}

/** The request that gives a device the rest, also its flags, with which it may go up. Pure. */
export function describeLinkFlags({ name, flags, attributes_ext = new Uint8Array(0) }: NetDeviceEntry): Uint8Array {
  const request = NL.NLM_F_REQUEST | NL.NLM_F_ACK;
  const named = NL.attribute(RT.IFLA_IFNAME, NL.text(name));
  return NL.message(RT.RTM_NEWLINK, request, 1, header(0, flags & SETTABLE, SETTABLE), named, attributes_ext);
}

/** struct ifinfomsg. */
function header(index: number, flags: number, change: number): Uint8Array {
  const bytes = new Uint8Array(RT.IFINFOMSG.bytes);
  const view = new DataView(bytes.buffer);
  view.setInt32(RT.IFINFOMSG.index, index, true);
  view.setUint32(RT.IFINFOMSG.flags, flags, true);
  view.setUint32(RT.IFINFOMSG.change, change, true);
  return bytes;
}

/** Settings that new devices get by themselves. */
export interface DefaultSettings {
  readonly ipv4: readonly SysctlEntry[];
  readonly ipv6: readonly SysctlEntry[];
}

/** The loopback device is there before the defaults are set. Pure. */
export function planLinkSettings(entry: NetDeviceEntry, defaults: DefaultSettings): Setting[] {
  const { type, name, conf, conf4, conf6 } = entry;
  const { ipv4, ipv6 } = type === NdType.LOOPBACK ? { ipv4: [], ipv6: [] } : defaults;
  return [...planSettings('ipv4', name, conf4, conf, ipv4), ...planSettings('ipv6', name, conf6, [], ipv6)];
}

/** Makes the devices in the namespace that we are in, with their settings. Throws CriuError. */
export function restoreLinks(
  entries: readonly NetDeviceEntry[],
  defaults: DefaultSettings,
  write: (settings: readonly Setting[]) => void,
): void {
  for (const entry of entries) {
    must(entry, 'made', describeNewLink(entry));
    write(planLinkSettings(entry, defaults));
    must(entry, 'set up', describeLinkFlags(entry));
  }
}

function must({ name, type, kind_ext }: NetDeviceEntry, what: string, request: Uint8Array): void {
  const answers = NL.ask(NL.NETLINK_ROUTE, request);
  const result = typeof answers === 'number' ? answers : (NL.firstError(answers) ?? 0);
  if (result === 0) return;
  const isMissing = result === -ERRNO.ENODEV && type === NdType.EXTLINK && kind_ext === undefined;
  throw new CriuError({
    object: `network device ${name}`,
    action: `cannot be ${what} (RTM_NEWLINK: ${errnoName(-result)})`,
    ...(isMissing ? { why: 'a script has to make it in the hook setup-namespaces' } : {}),
    crErrno: -result,
  });
}
