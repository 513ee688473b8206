/**
 * The network device behind a TUN or TAP descriptor, as far as it can be made again: name, index, hardware address, MTU,
 * whether it is up. Its addresses and routes are part of the configuration of the machine.
 */
import {
  IFF_UP,
  IFINFOMSG,
  IFLA_ADDRESS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_LINKINFO,
  IFLA_MTU,
  RTM_GETLINK,
  RTM_NEWLINK,
} from '../../../linux/abi/rtnetlink.ts';
import { AF_INET, SOCK_CLOEXEC, SOCK_DGRAM } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { IFLA_TUN_GROUP, IFLA_TUN_OWNER, IFREQ, SIOCGIFADDR } from '../../../linux/abi/tun.ts';
import { syscall } from '../../../linux/kernel.ts';
import { close, ioctl, tryReadFile } from '../../../linux/syscalls/fs.ts';
import {
  ask,
  attribute,
  firstError,
  message,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_REQUEST,
  attributes as parseAttributes,
  text,
  tryRequest,
  u32,
} from '../../../netlink/netlink.ts';

export interface NetworkDevice {
  readonly index: number;
  readonly flags: number;
  readonly mtu: number;
  /** Empty for a device without hardware addresses (TUN). */
  readonly address: Uint8Array;
  /** −1: everybody who may. */
  readonly owner: number;
  readonly group: number;
}

/** A device of our network namespace by name; −errno when there is none. */
export function tryReadDevice(name: string): NetworkDevice | number {
  const request = message(
    RTM_GETLINK,
    NLM_F_REQUEST,
    1,
    new Uint8Array(IFINFOMSG.bytes),
    attribute(IFLA_IFNAME, text(name)),
  );
  const answers = ask(NETLINK_ROUTE, request);
  if (typeof answers === 'number') return answers;
  const payload = answers.find(({ type }) => type === RTM_NEWLINK)?.payload;
  return payload === undefined ? (firstError(answers) ?? -1) : parseDevice(payload);
}

/** Parses the payload of RTM_NEWLINK. */
export function parseDevice(payload: Uint8Array): NetworkDevice {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = parseAttributes(payload, IFINFOMSG.bytes);
  const info = parseAttributes(attributes.get(IFLA_LINKINFO) ?? new Uint8Array(0), 0);
  const data = parseAttributes(info.get(IFLA_INFO_DATA) ?? new Uint8Array(0), 0);
  return {
    index: view.getInt32(IFINFOMSG.index, true),
    flags: view.getUint32(IFINFOMSG.flags, true),
    mtu: word(attributes.get(IFLA_MTU)) ?? 0,
    address: attributes.get(IFLA_ADDRESS) ?? new Uint8Array(0),
    owner: word(data.get(IFLA_TUN_OWNER)) ?? -1,
    group: word(data.get(IFLA_TUN_GROUP)) ?? -1,
  };
}

function word(bytes: Uint8Array | undefined): number | undefined {
  return bytes === undefined || bytes.length < 4
    ? undefined
    : new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true);
}

/** Gives a device its hardware address and MTU, and sets it up. 0 or −errno. */
export function trySetDevice(
  index: number,
  { flags, mtu, address }: Pick<NetworkDevice, 'flags' | 'mtu' | 'address'>,
): number {
  const header = new Uint8Array(IFINFOMSG.bytes);
  const view = new DataView(header.buffer);
  view.setInt32(IFINFOMSG.index, index, true);
  view.setUint32(IFINFOMSG.flags, flags & IFF_UP, true);
  view.setUint32(IFINFOMSG.change, IFF_UP, true);
  const attributes = [attribute(IFLA_MTU, u32(mtu))];
  if (address.length > 0) attributes.push(attribute(IFLA_ADDRESS, address));
  return tryRequest(NETLINK_ROUTE, message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, header, ...attributes));
}

/** An address or a route that a device has, in words; undefined when it has none but what the kernel makes itself. */
export function findConfiguration(name: string): string | undefined {
  if (hasIpv4Address(name)) return 'an IPv4 address';
  const fields = (file: string) => lines(file).map((line) => line.trim().split(/\s+/));
  const LINK_LOCAL = '20'; // scope, ipv6/addrconf.c if6_seq_show()
  if (fields('/proc/net/if_inet6').some((row) => row[5] === name && row[3] !== LINK_LOCAL)) return 'an IPv6 address';
  if (fields('/proc/net/route').some((row) => row[0] === name)) return 'routes';
  const isMadeByKernel = (destination = '') => /^(fe80|ff00)/.test(destination);
  if (fields('/proc/net/ipv6_route').some((row) => row.at(-1) === name && !isMadeByKernel(row[0]))) return 'routes';
  return undefined;
}

function lines(file: string): string[] {
  const content = tryReadFile(file);
  return typeof content === 'string' ? content.trimEnd().split('\n') : [];
}

function hasIpv4Address(name: string): boolean {
  const socket = syscall(SYS.socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  const result = ioctl(socket, SIOCGIFADDR, interfaceRequest(name, 0));
  close(socket);
  return result === 0;
}

/** struct ifreq. */
export function interfaceRequest(name: string, flags: number): Uint8Array {
  const bytes = new Uint8Array(IFREQ.bytes);
  bytes.set(text(name).subarray(0, IFREQ.ifr_flags));
  new DataView(bytes.buffer).setUint16(IFREQ.ifr_flags, flags, true);
  return bytes;
}
