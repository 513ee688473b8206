/** Packet and netlink sockets: what is planned for entries, and what speaks against them. */
import { describe, expect, test } from 'bun:test';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { PacketSockEntry } from '../../../image/gen/packet-sock.ts';
import type { NetlinkSkEntry } from '../../../image/gen/sk-netlink.ts';
import { VMA_AREA_SOCKET } from '../../../image/vma-status.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import type { RestoreTask } from '../../../restore/restore-tree.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { FileKind, RestoreContext, RestoreHome } from '../file-kind.ts';
import { netlinkSocket } from '../netlink-socket/netlink-socket.ts';
import { checkRings } from '../ring-mappings.ts';
import { packetSocket } from './packet-socket.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
const opts = {
  so_sndbuf: 2,
  so_rcvbuf: 2,
  so_snd_tmo_sec: 0,
  so_snd_tmo_usec: 0,
  so_rcv_tmo_sec: 0,
  so_rcv_tmo_usec: 0,
  so_filter: [],
  options_ext: [],
};
const packet: PacketSockEntry = {
  id: 7,
  type: 3,
  protocol: 8,
  flags: 2,
  ifindex: 1,
  fown,
  opts,
  version: 1,
  reserve: 0,
  aux_data: true,
  orig_dev: false,
  vnet_hdr: false,
  loss: false,
  timestamp: 0,
  copy_thresh: 0,
  mclist: [{ index: 1, type: 1, addr: Uint8Array.of() }],
};
const netlink: NetlinkSkEntry = {
  id: 7,
  ino: 99,
  protocol: 15,
  state: 1,
  flags: 2,
  portid: 500,
  groups: [3],
  dst_portid: 0,
  dst_group: 2,
  fown,
  opts,
};

const context = {
  system: { deviceIndex: () => 1, deviceName: (index: number) => (index === 1 ? 'lo' : undefined) },
} as unknown as RestoreContext;

/** Reasons of the steps, but for the buffers; addresses in hexadecimal digits. */
function planned(kind: FileKind, entry: FileEntry): string[] {
  const table = new FdTablePlan(3);
  kind.create([entry], { table, context, cloexec: () => 0, made: () => {} } as unknown as RestoreHome);
  return table
    .take()
    .toSteps()
    .flatMap(({ nr, because, args }) => {
      if (because.includes('buf of')) return [];
      const address = args[2 - 1];
      const isAddress = nr === SYS.bind || nr === SYS.connect;
      const hex =
        isAddress && typeof address === 'object' && 'bytes' in address ? Buffer.from(address.bytes) : undefined;
      return hex === undefined ? [because] : [`${because}: ${hex.toString('hex')}`];
    });
}

describe('packet sockets', () => {
  const what = 'packet socket 7 (protocol 0x800)';
  const kind = (fields: Partial<PacketSockEntry>): FileEntry => ({
    type: FdTypes.PACKETSK,
    id: 7,
    psk: { ...packet, ...fields },
  });

  test('receive nothing before they are complete', () => {
    const rx_ring = {
      block_size: 4096,
      block_nr: 1,
      frame_size: 2048,
      frame_nr: 2,
      retire_tmo: 0,
      sizeof_priv: 0,
      features: 0,
    };
    expect(planned(packetSocket, kind({ rx_ring, fanout: 13 }))).toEqual([
      `make ${what}`,
      `set version of ${what}`,
      `set aux_data of ${what}`,
      `add a membership of ${what}`,
      `make a ring of ${what}`,
      `bind ${what}: 1100080001000000000000000000000000000000`,
      `join the fanout group of ${what}`,
    ]);
  });

  test('of the obsolete kind are bound by name', () => {
    expect(planned(packetSocket, kind({ type: 10 }))).toEqual([
      `make ${what}`,
      `bind ${what}: 11006c6f000000000000000000000000`,
    ]);
  });

  test('need their devices', () => {
    expect(packetSocket.check?.(kind({ ifindex: 5 }), context)).toEqual([
      {
        object: what,
        action: 'cannot be restored',
        why: 'there is no network device with the index 5',
        remedy: 'make it again',
      },
    ]);
  });

  test('are needed where their ring is mapped', () => {
    const vmas = [{ start: 0x1000, end: 0x2000, status: VMA_AREA_SOCKET, shmid: 7 }];
    const task = { special: vmas, fds: [{ id: 8 }], label: "task 5 'x'" } as unknown as RestoreTask;
    expect(checkRings(task)).toEqual([
      {
        object: "mapping 1000-2000 of task 5 'x'",
        action: 'cannot be restored',
        why: 'it has no descriptor of file 7, which is mapped there',
      },
    ]);
  });
});

test('netlink sockets get their port or another one, their groups and their destination', () => {
  const what = 'socket:[99] (netlink protocol 15)';
  expect(planned(netlinkSocket, { type: FdTypes.NETLINKSK, id: 7, nlsk: netlink })).toEqual([
    `make ${what}`,
    `bind ${what} to port 500: 10000000f401000003000000`,
    `bind ${what} to port 500: 100000000000000003000000`,
    `connect ${what}: 100000000000000002000000`,
  ]);
});
