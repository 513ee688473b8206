import { describe, expect, test } from 'bun:test';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import { NdType, type NetDeviceEntry } from '../../../image/gen/netdev.ts';
import { IFINFOMSG } from '../../../linux/abi/rtnetlink.ts';
import { IFF_PERSIST, IFF_TAP } from '../../../linux/abi/tun.ts';
import { attribute, concat, nested, u32 } from '../../../netlink/netlink.ts';
import type { RestoreContext } from '../file-kind.ts';
import { parseDevice } from './device.ts';
import { tun } from './tun.ts';

test('a device as the kernel describes it', () => {
  const header = new Uint8Array(IFINFOMSG.bytes);
  const view = new DataView(header.buffer);
  view.setInt32(IFINFOMSG.index, 7, true);
  view.setUint32(IFINFOMSG.flags, 0x1043, true);
  const address = Uint8Array.of(2, 1, 2, 3, 4, 5);
  const info = nested(18, attribute(1, Buffer.from('tun\0')), nested(2, attribute(1, u32(12))));
  const payload = concat(header, attribute(1, address), attribute(4, u32(1400)), info);
  expect(parseDevice(payload)).toEqual({ index: 7, flags: 0x1043, mtu: 1400, address, owner: 12, group: -1 });
});

describe('a TUN descriptor in the images', () => {
  const NAME = 'criu-none0'; // no such device anywhere
  const context = (hasPath: boolean, device: Partial<NetDeviceEntry> | undefined) => {
    const path = { type: FdTypes.REG, id: 3, reg: { name: '/dev/net/tun' } } as FileEntry;
    const devices = device === undefined ? [] : [{ type: NdType.TUN, name: NAME, ...device }];
    const states = new Map<string, unknown>();
    return {
      images: { tryRead: (kind: string) => (kind === 'files' ? (hasPath ? [path] : []) : devices) },
      state: (key: string, make: () => unknown) => states.get(key) ?? states.set(key, make()).get(key),
    } as unknown as RestoreContext;
  };
  const problems = (netdev: string | undefined, where: RestoreContext) =>
    tun.check?.({ type: FdTypes.TUNF, id: 3, tunf: { id: 3, netdev } }, where);
  const link = { flags: IFF_TAP, owner: -1, group: -1, vnethdr: 0, sndbuf: 0 };
  const object = 'TUN file 3';
  const action = 'cannot be restored';

  test('is restored when its device can be', () => {
    expect(problems(undefined, context(true, undefined))).toEqual([]);
    expect(problems(NAME, context(true, { tun: link }))).toEqual([]);
  });

  test('is refused without its path or device', () => {
    expect(problems(undefined, context(false, undefined))).toEqual([
      { object, action, why: 'files.img does not have its path' },
    ]);
    const why = `the images do not have its device ${NAME}`;
    expect(problems(NAME, context(true, undefined))).toEqual([{ object, action, why }]);
  });

  test('is refused when its persistent device has gone', () => {
    expect(problems(NAME, context(true, { tun: { ...link, flags: IFF_TAP | IFF_PERSIST } }))).toEqual([
      {
        object,
        action,
        why: `its device ${NAME}, which was persistent, is not there`,
        remedy: `make it again as it was, with ip tuntap add dev ${NAME} mode tap`,
      },
    ]);
  });
});
