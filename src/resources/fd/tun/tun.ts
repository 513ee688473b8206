/**
 * Descriptors of /dev/net/tun (Documentation/networking/tuntap.rst): not attached, or attached to a TUN or TAP device.
 *
 * A persistent device stays when the program is gone: the restored descriptor is attached to it again. Another one goes
 * with its last descriptor, and is made again with name, index, owner, hardware address, MTU and state; addresses and
 * routes of such a device are refused, because they are configuration that somebody else may have given it.
 *
 * criu opens and attaches the descriptors, and the tasks fetch them: when a restore fails, the devices are gone again.
 *
 * The image has an entry for the path with the same id, as CRIU has it. Of devices CRIU keeps an image for a network
 * namespace only; here a tree of the host has it too, with its TUN and TAP devices.
 * Lost: packets that were not read yet, and offloads (TUNSETOFFLOAD).
 */
import { CriuError, type CriuErrorFields } from '../../../base/errors.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { NdType, type NetDeviceEntry } from '../../../image/gen/netdev.ts';
import type { RegFileEntry } from '../../../image/gen/regfile.ts';
import type { TunfileEntry } from '../../../image/gen/tun.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { O_CLOEXEC, O_PATH, S_IFCHR, S_IFMT } from '../../../linux/abi/fcntl.ts';
import { SIOCGSKNS } from '../../../linux/abi/socket.ts';
import {
  IFF_DETACH_QUEUE,
  IFF_MULTI_QUEUE,
  IFF_NAPI,
  IFF_NAPI_FRAGS,
  IFF_NO_PI,
  IFF_ONE_QUEUE,
  IFF_PERSIST,
  IFF_TAP,
  IFF_TUN,
  IFF_VNET_HDR,
  IFREQ,
  TUN_MAJOR,
  TUN_MINOR,
  TUNGETFILTER,
  TUNGETIFF,
  TUNGETSNDBUF,
  TUNGETVNETHDRSZ,
  TUNSETGROUP,
  TUNSETIFF,
  TUNSETIFINDEX,
  TUNSETOWNER,
  TUNSETQUEUE,
  TUNSETSNDBUF,
  TUNSETVNETHDRSZ,
} from '../../../linux/abi/tun.ts';
import { close, fstat, ioctl, major, minor, tryOpen, tryReadlink, tryStat } from '../../../linux/syscalls/fs.ts';
import type { DumpResult, FileKind, KindDump, OpenFile, RestoreContext } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';
import type { NumberOfNamespace } from '../namespace-file/namespace-file.ts';
import { openFlags } from '../regular-file/create-files.ts';
import { dumpRegularFile } from '../regular-file/regular-file.ts';
import { findConfiguration, interfaceRequest, type NetworkDevice, tryReadDevice, trySetDevice } from './device.ts';

/** What TUNSETIFF takes. */
const MODE_FLAGS =
  IFF_TUN | IFF_TAP | IFF_NAPI | IFF_NAPI_FRAGS | IFF_MULTI_QUEUE | IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR;

export const tun: FileKind = {
  type: FdTypes.TUNF,

  recognise: ({ stat, flags, link }) =>
    link.startsWith('/') &&
    (stat.st_mode & S_IFMT) === S_IFCHR &&
    major(stat.st_rdev) === TUN_MAJOR &&
    minor(stat.st_rdev) === TUN_MINOR &&
    (flags & O_PATH) === 0,

  dump: (file, id, dump) => dumpTun(file, id, dump),

  check: ({ tunf }, context) => (tunf === undefined ? [] : findProblems(tunf, context)),

  prepare: (context) => openDescriptors(context),

  release: (context) => {
    for (const fd of descriptors(context).values()) close(fd);
    descriptors(context).clear();
  },

  create([entry], home) {
    if (entry?.tunf === undefined) return;
    const { id } = entry.tunf;
    home.made(id, home.pull({ later: () => descriptors(home.context).get(id) ?? -1 }), true);
  },

  fown: () => undefined,
};

function dumpTun(file: OpenFile, id: number, dump: KindDump): DumpResult {
  const { localFd, fown } = file;
  if (fown.pid !== 0) return { unsupported: 'it sends signals (F_SETOWN), which the images cannot say' };
  const namespace = ioctl(localFd, SIOCGSKNS);
  if (namespace >= 0) {
    const own = tryStat('/proc/self/ns/net');
    const isOwn = typeof own !== 'number' && fstat(namespace).st_ino === own.st_ino;
    close(namespace);
    if (!isOwn) return { unsupported: 'it belongs to another network namespace than criu' };
  }
  const request = new Uint8Array(IFREQ.bytes);
  const attached = ioctl(localFd, TUNGETIFF, request);
  if (attached < 0 && attached !== -ERRNO.EBADFD) {
    return { unsupported: `the kernel does not tell its device (TUNGETIFF: ${errnoName(-attached)})` };
  }
  const ns_id = numberOfNamespace(dump);
  const tunf: TunfileEntry = { id, ...(ns_id === undefined ? {} : { ns_id }) };
  if (attached === 0) {
    const name = Buffer.from(request.subarray(0, request.indexOf(0))).toString('latin1');
    const flags = new DataView(request.buffer).getUint16(IFREQ.ifr_flags, true);
    const device = describeDevice(file, name, flags);
    if ('unsupported' in device) return device;
    if (dump.isFirst(`tun ${name}`)) addDevice(device, ns_id ?? 0, dump);
    tunf.netdev = name;
    if ((flags & IFF_DETACH_QUEUE) !== 0) tunf.detached = true;
  }
  const path = dumpRegularFile(file, id, dump);
  if ('unsupported' in path) return path;
  dump.addEntry(path);
  return { type: FdTypes.TUNF, id, tunf };
}

function numberOfNamespace(dump: KindDump): number | undefined {
  const { numberOf } = dump.state<{ numberOf: NumberOfNamespace }>('namespaces', () => ({ numberOf: () => undefined }));
  return numberOf(String(tryReadlink('/proc/self/ns/net')));
}

function describeDevice(
  file: OpenFile,
  name: string,
  flags: number,
): NetDeviceEntry | { unsupported: string; remedy?: string } {
  const filter = new Uint8Array(16);
  if ((flags & IFF_TAP) !== 0 && ioctl(file.localFd, TUNGETFILTER, filter) === 0 && (filter[0] ?? 0) !== 0) {
    return { unsupported: `its device ${name} has a filter, which cannot be read` };
  }
  const device = tryReadDevice(name);
  if (typeof device === 'number') return { unsupported: `its device ${name} cannot be found (${errnoName(-device)})` };
  const found = (flags & IFF_PERSIST) === 0 ? findConfiguration(name) : undefined;
  if (found !== undefined) {
    return {
      unsupported: `its device ${name} goes when the program ends, and has ${found}`,
      remedy: `make the device persistent (ip tuntap add dev ${name} mode ${(flags & IFF_TAP) === 0 ? 'tun' : 'tap'})`,
    };
  }
  const word = (command: number) => {
    const value = new Int32Array(1);
    ioctl(file.localFd, command, value);
    return value[0] ?? 0;
  };
  return {
    type: NdType.TUN,
    ifindex: device.index,
    mtu: device.mtu,
    flags: device.flags,
    name,
    address: device.address,
    tun: {
      flags: flags & (MODE_FLAGS | IFF_PERSIST),
      owner: device.owner,
      group: device.group,
      vnethdr: word(TUNGETVNETHDRSZ),
      sndbuf: word(TUNGETSNDBUF),
    },
    conf: [],
    conf4: [],
    conf6: [],
  };
}

function addDevice(device: NetDeviceEntry, namespace: number, dump: KindDump): void {
  const devices = dump.state('tun devices', (): NetDeviceEntry[] => {
    const list: NetDeviceEntry[] = [];
    dump.addImage((images) => images.write('netdev', namespace, list));
    return list;
  });
  devices.push(device);
}

function findProblems(tunf: TunfileEntry, context: RestoreContext): CriuErrorFields[] {
  const object = `TUN file ${tunf.id}`;
  const action = 'cannot be restored';
  if (pathOf(tunf, context) === undefined) return [{ object, action, why: 'files.img does not have its path' }];
  const { netdev } = tunf;
  if (netdev === undefined) return [];
  const entry = deviceOf(tunf, context);
  if (entry?.tun === undefined) return [{ object, action, why: `the images do not have its device ${netdev}` }];
  if ((entry.tun.flags & IFF_PERSIST) === 0 || typeof tryReadDevice(netdev) !== 'number') return [];
  const mode = (entry.tun.flags & IFF_TAP) === 0 ? 'tun' : 'tap';
  const remedy = `make it again as it was, with ip tuntap add dev ${netdev} mode ${mode}`;
  return [{ object, action, why: `its device ${netdev}, which was persistent, is not there`, remedy }];
}

/** The entry of the path has the same id, so that of the descriptor has taken its place among the files of the tree. */
function pathOf({ id }: TunfileEntry, context: RestoreContext): RegFileEntry | undefined {
  const all = context.state('tun paths', () => context.images.tryRead('files') ?? []);
  return all.find((file) => file.id === id && file.reg !== undefined)?.reg;
}

function deviceOf({ netdev, ns_id = 0 }: TunfileEntry, context: RestoreContext): NetDeviceEntry | undefined {
  const all = context.state(`tun devices ${ns_id}`, () => context.images.tryRead('netdev', ns_id) ?? []);
  return all.find(({ name }) => name === netdev);
}

/** criu's own descriptors, by file id. */
const descriptors = (context: RestoreContext): Map<number, number> => context.state('tun descriptors', () => new Map());

function openDescriptors(context: RestoreContext): void {
  const entries = filesOfType(context.tree.files, FdTypes.TUNF).flatMap(({ tunf }) => tunf ?? []);
  for (const tunf of entries) {
    const reg = pathOf(tunf, context);
    const fd = tryOpen(reg?.name ?? '', openFlags(reg?.flags ?? 0) | O_CLOEXEC);
    if (fd < 0) throw failed(tunf, `open ${reg?.name ?? ''}`, fd);
    descriptors(context).set(tunf.id, fd);
    const device = deviceOf(tunf, context);
    if (device?.tun !== undefined) attach(fd, tunf, device, device.tun);
  }
}

function attach(fd: number, tunf: TunfileEntry, entry: NetDeviceEntry, link: NonNullable<NetDeviceEntry['tun']>): void {
  const { name, ifindex } = entry;
  const isThere = typeof tryReadDevice(name) !== 'number';
  const must = (what: string, result: number) => {
    if (result < 0) throw failed(tunf, `${what} ${name}`, result);
  };
  // The number may be taken by now; then the device gets another one.
  if (!isThere) ioctl(fd, TUNSETIFINDEX, Int32Array.of(ifindex));
  must('TUNSETIFF', ioctl(fd, TUNSETIFF, interfaceRequest(name, link.flags & MODE_FLAGS)));
  // A persistent device takes the buffer's size from whoever is attached.
  must('TUNSETSNDBUF', ioctl(fd, TUNSETSNDBUF, Int32Array.of(link.sndbuf)));
  if ((link.flags & IFF_VNET_HDR) !== 0)
    must('TUNSETVNETHDRSZ', ioctl(fd, TUNSETVNETHDRSZ, Int32Array.of(link.vnethdr)));
  if (!isThere) {
    if (link.owner >= 0) must('TUNSETOWNER', ioctl(fd, TUNSETOWNER, link.owner));
    if (link.group >= 0) must('TUNSETGROUP', ioctl(fd, TUNSETGROUP, link.group));
    const made: NetworkDevice | number = tryReadDevice(name);
    if (typeof made === 'number') throw failed(tunf, `find ${name}`, made);
    const address = entry.address ?? new Uint8Array(0);
    must('configure', trySetDevice(made.index, { flags: entry.flags, mtu: entry.mtu, address }));
  }
  if (tunf.detached === true) must('TUNSETQUEUE', ioctl(fd, TUNSETQUEUE, interfaceRequest(name, IFF_DETACH_QUEUE)));
}

function failed({ id }: TunfileEntry, call: string, result: number): CriuError {
  return new CriuError({
    object: `TUN file ${id}`,
    action: `cannot be made again (${call}: ${errnoName(-result)})`,
    ...(result === -ERRNO.EBUSY ? { why: 'another process is attached to the device' } : {}),
    crErrno: -result,
  });
}
