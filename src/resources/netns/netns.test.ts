import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { NdType, type NetDeviceEntry } from '../../image/gen/netdev.ts';
import { SysctlType } from '../../image/gen/sysctl.ts';
import * as RT from '../../linux/abi/rtnetlink.ts';
import { attribute, attributes, concat, message, nested, parseAnswers, text, u32 } from '../../netlink/netlink.ts';
import { planConntrack } from './conntrack.ts';
import { describeSettings, planSettings, SETTINGS4, SETTINGS6 } from './device-settings.ts';
import { describeLinks, findLinkProblems, parseLink } from './links.ts';
import { withoutTable } from './packet-filter.ts';
import { describeLinkFlags, describeNewLink, findEntryProblems, OuterEnds, planLinkSettings } from './restore-links.ts';
import { isMadeByKernel, isUsualRule6, keyOf, packList, parseList } from './saved-lists.ts';
import { isSettingPath } from './write-settings.ts';

describe('settings of devices', () => {
  const files: Record<string, string> = {
    'net/ipv4/conf/lo/forwarding': '1\n',
    'net/ipv4/conf/lo/accept_redirects': '0\n',
    'net/ipv6/conf/lo/stable_secret': 'fe80::1\n',
  };

  test('are a list in a fixed order, with gaps where the kernel has none', () => {
    const four = describeSettings('ipv4', 'lo', (path) => files[path]);
    expect(four).toHaveLength(30);
    expect(four[SETTINGS4.indexOf('forwarding')]).toEqual({ type: SysctlType.CTL_32, iarg: 1 });
    expect(four[SETTINGS4.indexOf('tag')]).toEqual({ type: SysctlType.CTL_32 });
    const six = describeSettings('ipv6', 'lo', (path) => files[path]);
    expect(six).toHaveLength(42);
    expect(six[SETTINGS6.indexOf('stable_secret')]).toEqual({ type: SysctlType.CTL_STR, sarg: 'fe80::1' });
  });

  test('are written but for those that are as by default, accept_redirects last', () => {
    const entries = describeSettings('ipv4', 'lo', (path) => files[path]);
    const plan = (inherited: typeof entries) => planSettings('ipv4', 'lo', entries, [], inherited);
    const forwarding = { path: 'net/ipv4/conf/lo/forwarding', value: '1' };
    expect(plan([])).toEqual([forwarding, { path: 'net/ipv4/conf/lo/accept_redirects', value: '0' }]);
    expect(plan(entries)).toEqual([]);
  });

  test('of older images are numbers, where −1 is none', () => {
    expect(planSettings('ipv4', 'all', [], [-1, 7])).toEqual([
      { path: 'net/ipv4/conf/all/accept_redirects', value: '7' },
    ]);
  });

  test('the MTU is written always, for other settings change it', () => {
    const entries = describeSettings('ipv6', 'st0', (path) => (path.endsWith('/mtu') ? '1400\n' : undefined));
    expect(planSettings('ipv6', 'st0', entries, [], entries)).toEqual([
      { path: 'net/ipv6/conf/st0/mtu', value: '1400' },
    ]);
  });
});

describe('other settings', () => {
  test('an image names files of the network only', () => {
    for (const path of ['net/ipv4/ip_forward', 'net/ipv4/neigh/eth0.1/mcast_solicit'])
      expect(isSettingPath(path)).toBe(true);
    for (const path of ['kernel/core_pattern', 'net/../kernel/core_pattern', '/net/x', 'net/', 'net/..']) {
      expect(isSettingPath(path)).toBe(false);
    }
  });
});

/** The payload of RTM_NEWLINK. */
function link(name: string, kind: string | undefined, { type = 1, flags = 0x1043, xdp = 0 } = {}): Uint8Array {
  const header = new Uint8Array(RT.IFINFOMSG.bytes);
  const view = new DataView(header.buffer);
  view.setUint16(RT.IFINFOMSG.type, type, true);
  view.setInt32(RT.IFINFOMSG.index, 7, true);
  view.setUint32(RT.IFINFOMSG.flags, flags, true);
  return concat(
    header,
    attribute(RT.IFLA_IFNAME, text(name)),
    attribute(RT.IFLA_MTU, u32(1400)),
    attribute(RT.IFLA_TXQLEN, u32(77)),
    attribute(RT.IFLA_GROUP, u32(0)),
    attribute(RT.IFLA_ADDRESS, Uint8Array.of(2, 0, 0, 0, 0, 1)),
    nested(RT.IFLA_XDP, attribute(RT.IFLA_XDP_ATTACHED, Uint8Array.of(xdp))),
    ...(kind === undefined ? [] : [nested(RT.IFLA_LINKINFO, attribute(RT.IFLA_INFO_KIND, text(kind)))]),
  );
}

const parsed = (...args: Parameters<typeof link>) => {
  const one = parseLink(link(...args));
  return one === undefined ? [] : [one];
};

describe('network devices', () => {
  test('a plain device is one that a script makes, for CRIU, with its kind beside', () => {
    const [entry] = describeLinks(parsed('st0', 'dummy'), () => undefined);
    expect(entry).toMatchObject({
      type: NdType.EXTLINK,
      ifindex: 7,
      mtu: 1400,
      flags: 0x1043,
      name: 'st0',
      kind_ext: 'dummy',
      address: Uint8Array.of(2, 0, 0, 0, 0, 1),
      attributes_ext: attribute(RT.IFLA_TXQLEN, u32(77)),
    });
  });

  test('kinds that are not supported, and XDP programs, are refused by name', () => {
    const loopback = parsed('lo', undefined, { type: RT.ARPHRD_LOOPBACK });
    expect(findLinkProblems([...loopback, ...parsed('st0', 'ifb'), ...parsed('sit0', 'sit', { flags: 0x80 })])).toEqual(
      [],
    );
    const remedy = 'leave the namespace to others: --empty-ns net, or --external net[INODE]:NAME';
    const why = 'devices of this kind are not supported yet by this criu';
    expect(
      findLinkProblems([...parsed('br0', 'bridge'), ...parsed('e0', undefined), ...parsed('st0', 'dummy', { xdp: 1 })]),
    ).toEqual([
      { object: 'network device br0 (bridge)', action: 'cannot be dumped', why, remedy },
      { object: 'network device e0 (hardware)', action: 'cannot be dumped', why, remedy },
      { object: 'network device st0 (dummy)', action: 'cannot be dumped', why: 'an XDP program is attached to it' },
    ]);
  });

  const outer = new OuterEnds(3, new Map([['eth0', { name: 'outer0', bridge: undefined }]]));
  const newLink = (entry: NetDeviceEntry, all = [entry]) => describeNewLink(entry, all, outer);
  const entryOf = (fields: Partial<NetDeviceEntry>): NetDeviceEntry => ({
    ...{ type: NdType.LOOPBACK, ifindex: 1, mtu: 65536, flags: 0x10049, name: 'lo' },
    ...{ conf: [], conf4: [], conf6: [] },
    ...fields,
  });

  test('images of CRIU with other kinds, or with names that are paths, are refused', () => {
    const why = 'devices of this kind are not supported yet by this criu';
    const remedy = 'use --join-ns net:FILE or --empty-ns net';
    expect(
      findEntryProblems([
        entryOf({}),
        entryOf({ type: NdType.BRIDGE, name: 'br0' }),
        entryOf({ name: '../../kernel' }),
      ]),
    ).toEqual([
      { object: 'network device br0 (bridge)', action: 'cannot be restored', why, remedy },
      { object: "network device '../../kernel'", action: 'has a name that no device can have' },
    ]);
  });

  test('the loopback device is found by name and gets its MTU; another one is made with its index', () => {
    const [found] = parseAnswers(newLink(entryOf({})));
    expect(found).toMatchObject({ type: RT.RTM_NEWLINK, flags: 5 });
    expect([...attributes(found?.payload ?? new Uint8Array(), 16).keys()]).toEqual([RT.IFLA_IFNAME, RT.IFLA_MTU]);
    const [made] = parseAnswers(newLink(entryOf({ type: NdType.EXTLINK, ifindex: 9, name: 'st0', kind_ext: 'ifb' })));
    expect(made?.flags).toBe(0x605);
    expect(made?.payload[4]).toBe(9);
  });

  test('a pair is made with its first end; an outer end gets its name and namespace', () => {
    const veth = (name: string, ifindex: number, peer: Partial<NetDeviceEntry>) =>
      entryOf({ type: NdType.VETH, name, ifindex, ...peer });
    const pair = [
      veth('v0', 5, { peer_ifindex: 6, peer_nsid: 9 }),
      veth('v1', 6, { peer_ifindex: 5, peer_nsid: 9 }),
      veth('eth0', 7, { peer_ifindex: 5 }),
    ];
    const peerOf = (entry: NetDeviceEntry) => {
      const [request] = parseAnswers(newLink(entry, pair));
      const inner = (bytes: Uint8Array | undefined, type: number) => attributes(bytes ?? new Uint8Array(), 0).get(type);
      const info = attributes(request?.payload ?? new Uint8Array(), 16).get(RT.IFLA_LINKINFO);
      return info && inner(inner(info, RT.IFLA_INFO_DATA), RT.VETH_INFO_PEER);
    };
    const [first, second, outer] = pair.map(peerOf);
    expect(first?.[4]).toBe(6);
    expect(attributes(first ?? new Uint8Array(), 16)).toEqual(new Map([[RT.IFLA_IFNAME, text('v1')]]));
    expect(second).toBeUndefined();
    expect(outer?.[4]).toBe(0);
    const wanted = new Map([
      [RT.IFLA_IFNAME, text('outer0')],
      [RT.IFLA_NET_NS_FD, u32(3)],
    ]);
    expect(attributes(outer ?? new Uint8Array(), 16)).toEqual(wanted);
  });

  test('only flags that people set are set', () => {
    const [request] = parseAnswers(describeLinkFlags(entryOf({})));
    const view = new DataView((request?.payload ?? new Uint8Array(16)).buffer);
    expect(view.getUint32(RT.IFINFOMSG.flags, true)).toBe(RT.IFF_UP);
    expect(view.getUint32(RT.IFINFOMSG.change, true)).toBe(0x9385);
  });

  test('the loopback device was there before the defaults', () => {
    const conf4 = [{ type: SysctlType.CTL_32, iarg: 1 }];
    const defaults = { ipv4: conf4, ipv6: [] };
    expect(planLinkSettings(entryOf({ conf4 }), defaults)).toHaveLength(1);
    expect(planLinkSettings(entryOf({ conf4, type: NdType.EXTLINK }), defaults)).toHaveLength(0);
  });

  test('garbage is no device', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void parseLink(bytes)));
  });
});

function route(table: number, protocol: number, ...rest: Uint8Array[]): Uint8Array {
  const header = new Uint8Array(RT.RTMSG.bytes);
  header.set([2, 16, 0, 0, table > 255 ? 0 : table, protocol, 0, 1]);
  return concat(header, attribute(RT.RTA_TABLE, u32(table)), ...rest);
}

describe('addresses, routes and rules', () => {
  test('a list is a magic number and messages, as iproute2 has it', () => {
    const items = [route(254, 4), route(1000, 4)];
    const image = packList('route', items);
    expect([...image.subarray(0, 4)]).toEqual([0x24, 0x12, 0x31, 0x45]);
    expect(parseList('route', image)).toEqual(items);
    expect(parseList('rule', new Uint8Array(0))).toEqual([]);
  });

  test('what is no such list is refused', () => {
    const image = packList('route', [route(254, 4)]);
    expect(() => parseList('ifaddr', image)).toThrow(
      'ifaddr image: is no list of addresses: it begins with another magic number',
    );
    expect(() => parseList('route', image.subarray(0, 30))).toThrow(
      'route image: is no list of routes: a message is cut off',
    );
    const other = concat(image.subarray(0, 4), message(20, 0, 1, new Uint8Array(12)));
    expect(() => parseList('route6', other)).toThrow('is no list of IPv6 routes: there is a message of type 20');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        try {
          for (const item of parseList('route', concat(image.subarray(0, 4), bytes))) isMadeByKernel(item);
        } catch (error) {
          expect(String(error)).toContain('is no list of routes');
        }
      }),
    );
  });

  test('routes of the table "local" that the kernel makes are not kept', () => {
    expect(isMadeByKernel(route(255, 2))).toBe(true);
    expect(isMadeByKernel(route(255, 3))).toBe(false);
    expect(isMadeByKernel(route(254, 2))).toBe(false);
    expect(isMadeByKernel(route(1000, 2))).toBe(false);
  });

  test('a route is the same whatever the kernel counts in it', () => {
    const destination = attribute(RT.RTA_DST, Uint8Array.of(10, 0, 0, 0));
    const counted = attribute(RT.RTA_CACHEINFO, new Uint8Array(32).fill(3));
    expect(keyOf('route', route(254, 4, destination, counted))).toBe(keyOf('route', route(254, 2, destination)));
    expect(keyOf('route', route(254, 4, destination))).not.toBe(keyOf('route', route(254, 4)));
  });

  test('IPv6 rules that every namespace has', () => {
    const rule = (family: number, table: number, priority: number) =>
      concat(Uint8Array.of(family, 0, 0, 0, table, 0, 0, 1, 0, 0, 0, 0), attribute(RT.FRA_PRIORITY, u32(priority)));
    expect(isUsualRule6(rule(10, 255, 0))).toBe(true);
    expect(isUsualRule6(rule(10, 254, 32766))).toBe(true);
    expect(isUsualRule6(rule(10, 254, 5))).toBe(false);
    expect(isUsualRule6(rule(2, 254, 32766))).toBe(false);
  });
});

describe('packet filters', () => {
  const table = (name: string) => `table inet ${name} {\n\tchain output {\n\t\ttype filter hook output\n\t}\n}\n`;
  const without = (text: string) => Buffer.from(withoutTable(Buffer.from(text), 'CRIU-1')).toString();

  test('the lock of CRIU is no rule of the program', () => {
    expect(without(`${table('a')}${table('CRIU-1')}${table('b')}`)).toBe(`${table('a')}${table('b')}`);
    expect(without(table('CRIU-1'))).toBe('');
    expect(without(table('CRIU-12'))).toBe(table('CRIU-12'));
    expect(without('table inet CRIU-1 {\n')).toBe('table inet CRIU-1 {\n');
  });
});

describe('followed connections', () => {
  const flags = (type: number, value: number) => attribute(type, Uint8Array.of(value, 0));
  const connection = (...inner: Uint8Array[]) =>
    message(0x100, 2, 1, Uint8Array.of(2, 0, 0, 0), nested(4, nested(1, attribute(1, Uint8Array.of(3)), ...inner)));

  test('are sent with flags by which a TCP connection may have any window', () => {
    const [request] = planConntrack('netns-ct', connection(flags(4, 0x23), flags(5, 0x21)));
    expect([...(request ?? [])]).toEqual([
      ...message(
        0x100,
        0x405,
        1,
        parseAnswers(connection(attribute(4, Uint8Array.of(0x2b, 8)), attribute(5, Uint8Array.of(0x29, 8))))[0]
          ?.payload ?? new Uint8Array(),
      ),
    ]);
  });

  test("connections in CRIU's image of expected ones are there twice", () => {
    expect(planConntrack('netns-exp', connection())).toEqual([]);
  });

  test('what is no list is refused', () => {
    expect(() => planConntrack('netns-ct', connection().subarray(0, 19))).toThrow(
      'netns-ct image: is no list of followed connections',
    );
    expect(() => planConntrack('netns-exp', message(16, 0, 1, new Uint8Array(16)))).toThrow('is no list of expected');
  });
});
