/**
 * Makes the network devices of netdev-N.img again. The other end of a pair of veth devices is in the same namespace, or in
 * that of criu, with the name that --external veth[IN]:OUT gives it.
 */

import { CriuError, type CriuErrorFields } from '../../base/errors.ts';
import { NdType, type NetDeviceEntry } from '../../image/gen/netdev.ts';
import type { SysctlEntry } from '../../image/gen/sysctl.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import * as RT from '../../linux/abi/rtnetlink.ts';
import { sinceStartMs } from '../../linux/clock.ts';
import { tryDeviceIndex } from '../../linux/syscalls/network-device.ts';
import * as NL from '../../netlink/netlink.ts';
import { planSettings, type Setting } from './device-settings.ts';
import { PLAIN_KINDS } from './links.ts';

function typeName(wanted: number): string | undefined {
  for (const [name, type] of Object.entries(NdType)) if (type === wanted) return name;
  return undefined;
}

/** Devices in images that cannot be restored. Pure. */
export function findEntryProblems(entries: readonly NetDeviceEntry[]): CriuErrorFields[] {
  return entries.flatMap(({ type, name, kind_ext }) => {
    if (!isDeviceName(name))
      return [{ object: `network device '${name}'`, action: 'has a name that no device can have' }];
    const isKnownKind = kind_ext === undefined || PLAIN_KINDS.has(kind_ext);
    if (type === NdType.LOOPBACK || type === NdType.VETH || (type === NdType.EXTLINK && isKnownKind)) return [];
    const object = `network device ${name} (${(kind_ext ?? typeName(type) ?? `${type}`).toLowerCase()})`;
    const why = 'devices of this kind are not supported yet by this criu';
    return [{ object, action: 'cannot be restored', why, remedy: 'use --join-ns net:FILE or --empty-ns net' }];
  });
}

/** dev_valid_name() in net/core/dev.c; files of /proc/sys are named so. */
const isDeviceName = (name: string) => /^[^/:\s]{1,15}$/.test(name) && name !== '.' && name !== '..';

/** Flags of a device that are set by people; the others show what it is and does. */
const SETTABLE =
  RT.IFF_UP | RT.IFF_DEBUG | RT.IFF_NOARP | RT.IFF_PROMISC | RT.IFF_ALLMULTI | RT.IFF_MULTICAST | RT.IFF_DYNAMIC;

/** The end of a pair in criu's namespace: `--external veth[IN]:NAME@BRIDGE`. */
export interface OuterEnd {
  readonly name: string;
  readonly bridge: string | undefined;
}

/** The other ends of devices whose pair leads out of the namespace. */
export class OuterEnds {
  /** A descriptor of the namespace where they are to be. */
  readonly fd: number;
  readonly #ends: ReadonlyMap<string, OuterEnd>;
  readonly #made: OuterEnd[] = [];

  /** `ends` by name of the inner end; others get a name from the kernel. */
  constructor(fd: number, ends: ReadonlyMap<string, OuterEnd>) {
    this.fd = fd;
    this.#ends = ends;
  }

  nameOf(inner: string): string | undefined {
    return this.#ends.get(inner)?.name;
  }

  /** To be called when it is there. */
  made(inner: string): void {
    const end = this.#ends.get(inner);
    if (end !== undefined) this.#made.push(end);
  }

  /** In their namespace: puts them into their bridges, and sets these up. Throws CriuError. */
  connect(): void {
    for (const { name, bridge } of this.#made) {
      if (bridge === undefined) continue;
      const index = tryDeviceIndex(bridge);
      const attributes = [NL.attribute(RT.IFLA_IFNAME, NL.text(name)), NL.attribute(RT.IFLA_MASTER, NL.u32(index))];
      const flags = NL.NLM_F_REQUEST | NL.NLM_F_ACK;
      const request = NL.message(RT.RTM_NEWLINK, flags, 1, header(0, RT.IFF_UP, RT.IFF_UP), ...attributes);
      const result = index < 0 ? index : NL.tryRequest(NL.NETLINK_ROUTE, request);
      if (result === 0) continue;
      const object = `network device ${name}, the other end of a device of the tree`;
      const action = `cannot be put into the bridge ${bridge} (${errnoName(-result)})`;
      throw new CriuError({ object, action, crErrno: -result });
    }
  }

  /** In their namespace, after a failure: the kernel would take its time to remove them along with the inner ends. */
  remove(): void {
    for (const { name } of this.#made) {
      const named = NL.attribute(RT.IFLA_IFNAME, NL.text(name));
      NL.tryRequest(
        NL.NETLINK_ROUTE,
        NL.message(RT.RTM_DELLINK, NL.NLM_F_REQUEST | NL.NLM_F_ACK, 1, header(0, 0, 0), named),
      );
    }
  }
}

/** The other end of a pair, if that is one of the devices of this namespace too. */
function findPeer({ type, ifindex, peer_ifindex, peer_nsid }: NetDeviceEntry, all: readonly NetDeviceEntry[]) {
  if (type !== NdType.VETH || peer_nsid === undefined) return undefined;
  return all.find((other) => other.ifindex === peer_ifindex && other.type === NdType.VETH && other.ifindex !== ifindex);
}

/** Whether a request makes the device; others are there with the namespace, with their other end, or by a script. */
function isMade(entry: NetDeviceEntry, all: readonly NetDeviceEntry[]): boolean {
  if (entry.type !== NdType.VETH) return entry.kind_ext !== undefined;
  const peer = findPeer(entry, all);
  return peer === undefined || all.indexOf(entry) < all.indexOf(peer);
}

/** The request that makes a device, or finds the one that is there; it is down afterwards. Pure. */
export function describeNewLink(entry: NetDeviceEntry, all: readonly NetDeviceEntry[], outer: OuterEnds): Uint8Array {
  const { ifindex, mtu, name, address } = entry;
  const isNew = isMade(entry, all);
  const attributes = [NL.attribute(RT.IFLA_IFNAME, NL.text(name)), NL.attribute(RT.IFLA_MTU, NL.u32(mtu))];
  if (address !== undefined && address.length > 0) attributes.push(NL.attribute(RT.IFLA_ADDRESS, address));
  if (isNew) attributes.push(NL.nested(RT.IFLA_LINKINFO, ...kindOf(entry, findPeer(entry, all), outer)));
  const flags = NL.NLM_F_REQUEST | NL.NLM_F_ACK | (isNew ? NL.NLM_F_CREATE | NL.NLM_F_EXCL : 0);
  return NL.message(RT.RTM_NEWLINK, flags, 1, header(isNew ? ifindex : 0, 0, 0), ...attributes);
}

/** Attributes inside of IFLA_LINKINFO. */
function kindOf(entry: NetDeviceEntry, peer: NetDeviceEntry | undefined, outer: OuterEnds): Uint8Array[] {
  const kind = NL.attribute(RT.IFLA_INFO_KIND, NL.text(entry.kind_ext ?? 'veth'));
  if (entry.type !== NdType.VETH) return [kind];
  const name = peer?.name ?? outer.nameOf(entry.name);
  const attributes = [
    ...(name === undefined ? [] : [NL.attribute(RT.IFLA_IFNAME, NL.text(name))]),
    ...(peer === undefined ? [NL.attribute(RT.IFLA_NET_NS_FD, NL.u32(outer.fd))] : []),
  ];
  const data = NL.attribute(RT.VETH_INFO_PEER, NL.concat(header(peer?.ifindex ?? 0, 0, 0), ...attributes));
  return [kind, NL.nested(RT.IFLA_INFO_DATA, data)];
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
  outer: OuterEnds,
  write: (settings: readonly Setting[]) => void,
): void {
  for (const entry of entries) {
    const leadsOut = entry.type === NdType.VETH && findPeer(entry, entries) === undefined;
    makeLink(entry, describeNewLink(entry, entries, outer), leadsOut ? outer.nameOf(entry.name) : undefined);
    if (leadsOut) outer.made(entry.name);
    write(planLinkSettings(entry, defaults));
  }
  for (const entry of entries) check(entry, 'set up', tryLink(describeLinkFlags(entry)));
}

/** How long the pair of a tree that is just gone may keep its names: cleanup_net() in net/core/net_namespace.c is a worker. */
const DYING_MS = 2000;
const PAUSE_MS = 10;

function makeLink(entry: NetDeviceEntry, request: Uint8Array, outerName: string | undefined): void {
  const deadline = sinceStartMs() + DYING_MS;
  let result = tryLink(request);
  while (result === -ERRNO.EEXIST && outerName !== undefined && sinceStartMs() < deadline) {
    Bun.sleepSync(PAUSE_MS);
    result = tryLink(request);
  }
  if (result === -ERRNO.EEXIST && outerName !== undefined) {
    const object = `network device ${outerName}, the other end of ${entry.name}`;
    const remedy = `remove it, or give another name with --external veth[${entry.name}]:NAME`;
    throw new CriuError({ object, action: 'cannot be made: there is one of that name', remedy, crErrno: -result });
  }
  check(entry, 'made', result);
}

const tryLink = (request: Uint8Array) => NL.tryRequest(NL.NETLINK_ROUTE, request);

function check({ name, type, kind_ext }: NetDeviceEntry, what: string, result: number): void {
  if (result === 0) return;
  const isMissing = result === -ERRNO.ENODEV && type === NdType.EXTLINK && kind_ext === undefined;
  throw new CriuError({
    object: `network device ${name}`,
    action: `cannot be ${what} (RTM_NEWLINK: ${errnoName(-result)})`,
    ...(isMissing ? { why: 'a script has to make it in the hook setup-namespaces' } : {}),
    crErrno: -result,
  });
}
