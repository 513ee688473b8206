/** Internet sockets: addresses, answers of sock_diag, and what is planned for entries. */
import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { O_NONBLOCK, O_RDWR } from '../../../linux/abi/fcntl.ts';
import { TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN } from '../../../linux/abi/inet.ts';
import * as SOCKET from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreContext, RestoreHome } from '../file-kind.ts';
import { formatAddress, needsDevice, packSockaddr, parseSockaddr } from './address.ts';
import { planTcpExtensions } from './inet-options.ts';
import { inetSocket } from './inet-socket.ts';
import { parseProcNet } from './proc-net.ts';
import { parseInetDiag } from './sock-diag.ts';

const { AF_INET, AF_INET6, SOCK_DGRAM, SOCK_RAW, SOCK_STREAM } = SOCKET;
const LOOPBACK = 0x0100_007f;
const ANY6 = [0, 0, 0, 0];

const base: InetSkEntry = {
  id: 7,
  ino: 99,
  family: AF_INET,
  type: SOCK_STREAM,
  proto: 6,
  state: TCP_CLOSE,
  src_port: 0,
  dst_port: 0,
  flags: O_RDWR,
  backlog: 0,
  src_addr: [0],
  dst_addr: [0],
  fown: { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 },
  opts: {
    so_sndbuf: 16384,
    so_rcvbuf: 131072,
    so_snd_tmo_sec: 0,
    so_snd_tmo_usec: 0,
    so_rcv_tmo_sec: 0,
    so_rcv_tmo_usec: 0,
    so_filter: [],
    options_ext: [],
  },
};

/** System calls planned for the first of the entries; setsockopt as [level, option, value]. */
function planned(...entries: Partial<InetSkEntry>[]): [string, unknown[]][] {
  const files = entries.map(
    (fields, i): FileEntry => ({
      type: FdTypes.INETSK,
      id: 7 + i,
      isk: { ...base, ...fields, id: 7 + i },
    }),
  );
  const [first] = files;
  if (first === undefined) return [];
  const table = new FdTablePlan(3);
  const context = {
    images: { tryRead: () => undefined },
    tree: { files: new Map(files.map((file) => [file.id, file])) },
    state: (_: string, make: () => unknown) => make(),
  } as unknown as RestoreContext;
  const home = { table, context, cloexec: () => 0, made: () => {} } as unknown as RestoreHome;
  inetSocket.create([first], home);
  inetSocket.finish?.(first, 0, home);
  const names = Object.entries(SYS);
  return table
    .take()
    .toSteps()
    .map(({ nr, args }) => {
      const name = names.find(([, number]) => number === nr)?.[0] ?? '';
      const plain = args.slice(1).map((arg) => {
        if (typeof arg !== 'object' || !('bytes' in arg)) return arg;
        return arg.bytes.length === 4
          ? new DataView(arg.bytes.buffer).getInt32(0, true)
          : Buffer.from(arg.bytes).toString('hex');
      });
      return [name, name === 'setsockopt' ? plain.slice(0, 3) : plain];
    });
}

const BUFFERS: [string, unknown[]][] = [
  ['setsockopt', [1, SOCKET.SO_SNDBUFFORCE, 8192]],
  ['setsockopt', [1, SOCKET.SO_RCVBUFFORCE, 65536]],
];

describe('restore', () => {
  test('a new TCP socket is made and no more', () => {
    expect(planned({ flags: O_RDWR | O_NONBLOCK })).toEqual([
      ['socket', [SOCK_STREAM | SOCKET.SOCK_NONBLOCK, 6]],
      ...BUFFERS,
    ]);
  });

  test('a listening one gets its port in spite of connections that have just ended', () => {
    expect(planned({ state: TCP_LISTEN, src_port: 80, src_addr: [LOOPBACK], backlog: 5 })).toEqual([
      ['socket', [SOCK_STREAM, 6]],
      ...BUFFERS,
      ['setsockopt', [1, SOCKET.SO_REUSEADDR, 1]],
      ['bind', ['020000507f0000010000000000000000', 16]],
      ['listen', [5]],
      ['setsockopt', [1, SOCKET.SO_REUSEADDR, 0]],
    ]);
  });

  test('sockets of one port may share it until all are bound', () => {
    const udp = { type: SOCK_DGRAM, proto: 17, src_port: 53, src_addr: [LOOPBACK] };
    const names = (calls: [string, unknown[]][]) => calls.map(([name, args]) => `${name} ${args.slice(1).join(' ')}`);
    expect(names(planned(udp)).filter((name) => / (2|15) /.test(name))).toEqual([]);
    expect(names(planned(udp, { ...udp, src_addr: [0] })).filter((name) => / (2|15) /.test(`${name} `))).toEqual([
      'setsockopt 2 1',
      'setsockopt 15 1',
      'setsockopt 2 0',
      'setsockopt 15 0',
    ]);
  });

  test('UDP over IPv6 is bound, connected and shut down', () => {
    const address = { src_port: 1, dst_port: 2, src_addr: [0, 0, 0, 0x0100_0000], dst_addr: [0, 0, 0, 0x0100_0000] };
    const entry = { family: AF_INET6, type: SOCK_DGRAM, proto: 17, state: TCP_ESTABLISHED, shutdown: 2 as const };
    expect(planned({ ...entry, ...address, v6only: false }).filter(([name]) => name !== 'setsockopt')).toEqual([
      ['socket', [SOCK_DGRAM, 17]],
      ['bind', [`0a00000100000000${'0'.repeat(31)}100000000`, 28]],
      ['connect', [`0a00000200000000${'0'.repeat(31)}100000000`, 28]],
      ['shutdown', [1]],
    ]);
  });

  test('a raw socket is not bound to its protocol', () => {
    const raw = { icmpv_filter: [0xffff_fffe], hdrincl: true };
    expect(planned({ type: SOCK_RAW, proto: 1, src_port: 1, ip_opts: { raw } })).toEqual([
      ['socket', [SOCK_RAW, 1]],
      ['setsockopt', [0, 3, 1]],
      ['setsockopt', [255, 1, -2]],
      ...BUFFERS,
    ]);
  });
});

describe('what cannot be restored', () => {
  const check = (fields: Partial<InetSkEntry>, options: Partial<RestoreContext['options']> = {}) =>
    inetSocket.check?.({ type: FdTypes.INETSK, id: 7, isk: { ...base, ...fields } }, { options } as RestoreContext);

  test('a TCP connection, naming the option', () => {
    const ends = { src_port: 80, src_addr: [LOOPBACK], dst_port: 99, dst_addr: [LOOPBACK] };
    expect(check({ state: TCP_ESTABLISHED, ...ends })).toEqual([
      {
        object: 'socket:[99] (127.0.0.1:80)',
        action: 'cannot be restored',
        why: 'it is a TCP connection',
        remedy: 'keep it with --tcp-established, or let it come back closed with --tcp-close',
      },
    ]);
  });

  const damages: [string, Partial<InetSkEntry>][] = [
    ['its family is 3', { family: 3 }],
    ['its type is 5', { type: 5 }],
    ['its address is too short', { family: AF_INET6 }],
    ['a port is too large', { src_port: 65536 }],
    ['it listens with protocol 17', { state: TCP_LISTEN, type: SOCK_DGRAM, proto: 17 }],
  ];
  test.each(damages)('damaged: %s', (why, fields) => {
    expect(check(fields)).toEqual([
      { object: 'socket 7', action: 'cannot be restored', why: `${why}: the image is damaged` },
    ]);
  });
});

describe('addresses', () => {
  const word = fc.integer({ min: 0, max: 0xffff_ffff });
  const port = fc.integer({ min: 0, max: 0xffff });

  test('survive the kernel structure', () => {
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), port, fc.boolean(), (words, number, isV6) => {
        const address = { port: number, words: isV6 ? words : words.slice(0, 1) };
        const family = isV6 ? AF_INET6 : AF_INET;
        expect(parseSockaddr(packSockaddr(family, address), family)).toEqual(address);
      }),
    );
  });

  test('are readable', () => {
    expect(formatAddress(AF_INET, { port: 80, words: [LOOPBACK] })).toBe('127.0.0.1:80');
    expect(formatAddress(AF_INET6, { port: 1, words: ANY6 })).toBe('[::]:1');
    expect(formatAddress(AF_INET6, { port: 1, words: [0, 0, 0, 0x0100_0000] })).toBe('[::1]:1');
    expect(formatAddress(AF_INET6, { port: 1, words: [0x80fe, 0, 0x0100, 0x0200_0000] })).toBe('[fe80::1:0:0:2]:1');
  });

  test('of a link need a device', () => {
    expect([0x80fe, 0x02ff, 0x01ff].map((first) => needsDevice([first, 0, 0, 0]))).toEqual([true, true, true]);
    expect([0, 0xc0fe, 0x05ff, 0x0120].map((first) => needsDevice([first, 0, 0, 0]))).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });
});

describe('sock_diag', () => {
  /** struct inet_diag_msg and attributes. */
  function answer(...attributes: number[]): Uint8Array {
    const bytes = new Uint8Array(72 + attributes.length);
    const view = new DataView(bytes.buffer);
    bytes.set([AF_INET, TCP_ESTABLISHED]);
    view.setUint16(4, 53);
    view.setUint32(8, LOOPBACK, true);
    view.setUint32(56, 700, true);
    view.setUint32(68, 4711, true);
    bytes.set(attributes, 72);
    return bytes;
  }
  const parse = (payload: Uint8Array, type = 20) => parseInetDiag({ type, flags: 2, sequence: 1, payload });

  test('an answer is understood', () => {
    const socket = {
      state: TCP_ESTABLISHED,
      source: { port: 53, words: [LOOPBACK] },
      destination: { port: 0, words: [0] },
      rqueue: 700,
      wqueue: 0,
    };
    const usual = { ...socket, shutdown: 0, hasKeys: false, ulp: '' };
    expect(parse(answer(5, 0, 8, 0, 2, 0, 0, 0))).toEqual([4711, { ...usual, shutdown: 2 }]);
    expect(parse(answer(5, 0, 18, 0, 1, 0, 0, 0))).toEqual([4711, { ...usual, hasKeys: true }]);
    const name = [...new TextEncoder().encode('tls\0')];
    expect(parse(answer(12, 0, 19, 0x80, 8, 0, 1, 0, ...name))).toEqual([4711, { ...usual, ulp: 'tls' }]);
  });

  test('others, and what is cut off, are not', () => {
    expect(parse(answer(), 2)).toBeUndefined();
    expect(parse(answer().subarray(1))).toBeUndefined();
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void parse(bytes)));
  });
});

describe('/proc/net', () => {
  test('a connected raw socket', () => {
    const line =
      '  253: 0100007F:00FD 0200007F:0000 01 00000000:00000300 00:00000000 00000000     0        0 4711 2 0000000000000000 0';
    expect([...parseProcNet(`  sl  local_address rem_address   st\n${line}  \n`)]).toEqual([
      [
        4711,
        {
          state: TCP_ESTABLISHED,
          source: { port: 253, words: [LOOPBACK] },
          destination: { port: 0, words: [0x0200_007f] },
          rqueue: 0x300,
          wqueue: 0,
          shutdown: 0,
        },
      ],
    ]);
  });

  test('garbage is nothing', () => {
    fc.assert(fc.property(fc.string(), (text) => parseProcNet(text).size === 0));
  });
});

describe('options of TCP', () => {
  test('of old images are set on a new socket', () => {
    const table = new FdTablePlan(3);
    planTcpExtensions(table, 3, { congestion_ext: 'reno', maxseg_ext: 700 }, 'it');
    expect(
      table
        .take()
        .toSteps()
        .map(({ because, args }) => [because, args[2]]),
    ).toEqual([
      ['set maxseg_ext of it', 2],
      ['set congestion control reno of it', 13],
    ]);
  });
});
