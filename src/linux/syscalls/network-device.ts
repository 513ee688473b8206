/** Network devices of our network namespace: names, indexes, first addresses (man 7 netdevice). */
import { AF_INET, AF_UNIX, IFNAMSIZ, SOCK_CLOEXEC, SOCK_DGRAM } from '../abi/socket.ts';
import { SYS } from '../abi/syscall-numbers.ts';
import { cString, syscall } from '../kernel.ts';
import { close } from './fs.ts';

const SIOCGIFNAME = 0x8910;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFADDR = 0x8915;
const SIOCGIFINDEX = 0x8933;
const IFREQ_BYTES = 40;
const ADDRESS_AT = IFNAMSIZ + 4;

/** ioctl(2) with a struct ifreq. */
function ask(family: number, request: number, ifreq: Uint8Array): number {
  const fd = syscall(SYS.socket, family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fd;
  const result = syscall(SYS.ioctl, fd, request, ifreq);
  close(fd);
  return result;
}

function named(name: string): Uint8Array {
  const ifreq = new Uint8Array(IFREQ_BYTES);
  ifreq.set(cString(name.slice(0, IFNAMSIZ - 1)));
  return ifreq;
}

/** The index of a device, or −errno. */
export function tryDeviceIndex(name: string): number {
  const ifreq = named(name);
  const result = ask(AF_UNIX, SIOCGIFINDEX, ifreq);
  return result < 0 ? result : new DataView(ifreq.buffer).getInt32(IFNAMSIZ, true);
}

/** The name of a device; undefined when there is none of that index. */
export function tryDeviceName(index: number): string | undefined {
  const ifreq = new Uint8Array(IFREQ_BYTES);
  new DataView(ifreq.buffer).setInt32(IFNAMSIZ, index, true);
  if (ask(AF_UNIX, SIOCGIFNAME, ifreq) < 0) return undefined;
  return String.fromCharCode(...ifreq.subarray(0, ifreq.indexOf(0)));
}

/** Sets flags of a device (IFF_UP and the like), and clears all others that can be set; 0 or −errno. */
export function trySetDeviceFlags(name: string, flags: number): number {
  const ifreq = named(name);
  new DataView(ifreq.buffer).setUint16(IFNAMSIZ, flags, true);
  return ask(AF_INET, SIOCSIFFLAGS, ifreq);
}

/** The first IPv4 address of a device; undefined when it has none. */
export function tryDeviceAddress(name: string): Uint8Array | undefined {
  const ifreq = named(name);
  return ask(AF_INET, SIOCGIFADDR, ifreq) < 0 ? undefined : ifreq.subarray(ADDRESS_AT, ADDRESS_AT + 4);
}
