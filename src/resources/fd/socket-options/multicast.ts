/**
 * Multicast groups that a socket is a member of (man 7 ip, "IP_ADD_MEMBERSHIP"; RFC 3678 for their sources). The kernel
 * lists the groups of each device, and tells of a socket when it is asked for one of them. What makes the socket a
 * member again goes into `options_ext`, as calls of setsockopt(2).
 */
import { bytesOfWords } from '../../../base/bytes.ts';
import type { SkOptionExt, SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { IP_ADD_MEMBERSHIP, SOL_IP, SOL_IPV6 } from '../../../linux/abi/inet.ts';
import { AF_INET, AF_INET6 } from '../../../linux/abi/socket.ts';
import { tryReadFile } from '../../../linux/syscalls/fs.ts';
import { tryDeviceAddress, tryDeviceName } from '../../../linux/syscalls/network-device.ts';
import { tryGetsockopt } from '../../../linux/syscalls/socket.ts';
import type { Unsupported } from '../file-kind.ts';

export const MCAST_JOIN_GROUP = 42;
export const MCAST_MSFILTER = 48;

/** A group of a device. */
export interface Group {
  /** Index of the device. */
  readonly device: number;
  /** AF_INET or AF_INET6. */
  readonly family: number;
  readonly address: Uint8Array;
}

/** Every device is in this group, and sockets hardly ever are: 224.0.0.1, and ff02::1, ff01::1. */
const isOfAllHosts = (address: string) => /^(010000E0|FF0[12]0{27}1)$/i.test(address);

/**
 * The groups in /proc/net/igmp that a socket may have joined. A line without a tab begins a device; the number of users
 * counts the kernel as one of those of the group of all hosts.
 */
export function parseIgmp(text: string): Group[] {
  const groups: Group[] = [];
  let device = 0;
  for (const line of text.split('\n')) {
    const header = /^(\d+)\t/.exec(line);
    if (header !== null) device = Number(header[1]);
    const match = /^\s+([0-9A-F]{8})\s+(\d+)\s/.exec(line);
    if (match === null) continue;
    const [, word = '', users = ''] = match;
    if (isOfAllHosts(word) && Number(users) <= 1) continue;
    const address = new Uint8Array(4);
    new DataView(address.buffer).setUint32(0, Number.parseInt(word, 16), true);
    groups.push({ device, family: AF_INET, address });
  }
  return groups;
}

/** The same for /proc/net/igmp6: one line for each group of a device. */
export function parseIgmp6(text: string): Group[] {
  const groups: Group[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\d+)\s+\S+\s+([0-9a-f]{32})\s+(\d+)\s/.exec(line);
    if (match === null) continue;
    const [, device = '', hex = '', users = ''] = match;
    if (isOfAllHosts(hex) && Number(users) <= 1) continue;
    groups.push({ device: Number(device), family: AF_INET6, address: Uint8Array.fromHex(hex) });
  }
  return groups;
}

/** All groups of our network namespace that sockets may be members of. */
export function readGroups(): Group[] {
  const [v4, v6] = ['/proc/self/net/igmp', '/proc/self/net/igmp6'].map((path) => tryReadFile(path));
  return [...parseIgmp(typeof v4 === 'string' ? v4 : ''), ...parseIgmp6(typeof v6 === 'string' ? v6 : '')];
}

const SOCKADDR_BYTES = 128;
/** struct group_filter: device, group, mode, number of sources, sources (uapi/linux/in.h). */
const GROUP_AT = 8;
const MODE_AT = GROUP_AT + SOCKADDR_BYTES;
const COUNT_AT = MODE_AT + 4;
const SOURCES_AT = COUNT_AT + 4;
/** More than net.ipv4.igmp_max_msf and net.ipv6.mld_max_msf (10 and 64) usually allow. */
const SOURCES_MAX = 512;
const MCAST_EXCLUDE = 0;

const levelOf = (family: number) => (family === AF_INET ? SOL_IP : SOL_IPV6);

function packGroup({ device, family, address }: Group, bytes: number): Uint8Array {
  const value = new Uint8Array(bytes);
  const view = new DataView(value.buffer);
  view.setUint32(0, device, true);
  view.setUint16(GROUP_AT, family, true);
  value.set(address, GROUP_AT + (family === AF_INET ? 4 : 8));
  return value;
}

/** The memberships of a socket among these groups. */
export function readMemberships(fd: number, family: number, groups: readonly Group[]): SkOptionExt[] | Unsupported {
  const options: SkOptionExt[] = [];
  for (const group of groups) {
    // An IPv6 socket can be a member of groups of both.
    if (group.family === AF_INET6 && family === AF_INET) continue;
    const filter = packGroup(group, SOURCES_AT + SOURCES_MAX * SOCKADDR_BYTES);
    new DataView(filter.buffer).setUint32(COUNT_AT, SOURCES_MAX, true);
    const result = tryGetsockopt(fd, levelOf(group.family), MCAST_MSFILTER, filter);
    if (result === -ERRNO.EADDRNOTAVAIL || result === -ERRNO.ENOPROTOOPT || result === -ERRNO.ENODEV) continue;
    if (result < 0)
      return { unsupported: `its multicast groups cannot be read (MCAST_MSFILTER: ${errnoName(-result)})` };
    options.push(...describeMembership(group, filter));
  }
  return options;
}

function describeMembership(group: Group, filter: Uint8Array): SkOptionExt[] {
  const device = tryDeviceName(group.device);
  const known = device === undefined ? {} : { device };
  const options: SkOptionExt[] = [{ ...joinOption(group, device), ...known }];
  const view = new DataView(filter.buffer);
  const count = view.getUint32(COUNT_AT, true);
  if (view.getUint32(MODE_AT, true) !== MCAST_EXCLUDE || count > 0) {
    const value = filter.slice(0, SOURCES_AT + count * SOCKADDR_BYTES);
    options.push({ level: levelOf(group.family), option: MCAST_MSFILTER, value, ...known, device_offset: 0 });
  }
  return options;
}

/** The device on which a socket with these options is a member of a group: one word or four, as in images. */
export function membershipDevice({ options_ext }: SkOptsEntry, words: readonly number[]): string | undefined {
  const address = bytesOfWords(...words);
  const [level, option, at] =
    words.length === 1 ? [SOL_IP, IP_ADD_MEMBERSHIP, 0] : [SOL_IPV6, MCAST_JOIN_GROUP, GROUP_AT + 8];
  return options_ext.find(
    (one) =>
      one.level === level && one.option === option && Bun.deepEquals(one.value.slice(at, at + address.length), address),
  )?.device;
}

/**
 * An IPv4 group is joined by device and address of the device, so that the program can leave it by either: the kernel
 * compares with what was given (net/ipv4/igmp.c ip_mc_leave_group()), and does not tell what that was.
 */
function joinOption(group: Group, device: string | undefined): SkOptionExt {
  const { family, address } = group;
  if (family === AF_INET6) {
    const value = packGroup(group, MODE_AT);
    return { level: SOL_IPV6, option: MCAST_JOIN_GROUP, value, device_offset: 0 };
  }
  const value = new Uint8Array(12);
  value.set(address);
  value.set((device === undefined ? undefined : tryDeviceAddress(device)) ?? [], 4);
  new DataView(value.buffer).setUint32(8, group.device, true);
  return { level: SOL_IP, option: IP_ADD_MEMBERSHIP, value, device_offset: 8 };
}
