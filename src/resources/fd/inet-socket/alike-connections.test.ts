/** Connections made by copies of steps: what is planned is the same as for each by itself. */
import { expect, test } from 'bun:test';
import fc from 'fast-check';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { SkOptsEntry } from '../../../image/gen/sk-opts.ts';
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreContext, RestoreHome } from '../file-kind.ts';
import type { Step } from '../step.ts';
import { createInetSocket } from './restore-inet.ts';

const optsOf = (more: Partial<SkOptsEntry>): SkOptsEntry => ({
  so_sndbuf: 16384,
  so_rcvbuf: 131072,
  so_snd_tmo_sec: 0,
  so_snd_tmo_usec: 0,
  so_rcv_tmo_sec: 0,
  so_rcv_tmo_usec: 0,
  so_filter: [],
  options_ext: [],
  ...more,
});
const OPTS = [optsOf({}), optsOf({ so_keepalive: true, so_bound_dev: 'lo' }), optsOf({ so_filter: [6n << 48n] })];

const port = fc.integer({ min: 1, max: 65535 });
const word = fc.integer({ min: 0, max: 0xffff_ffff });
const few = <T>(...values: T[]) => fc.constantFrom(...values);

/** Entries of few sorts, with the queues of their streams. */
const connection = fc.record({
  entry: fc.record({
    family: few(2, 10),
    state: few(INET.TCP_ESTABLISHED, INET.TCP_ESTABLISHED, INET.TCP_CLOSE_WAIT),
    src_port: port,
    dst_port: port,
    address: word,
    opts: few(...OPTS),
    flags: few(2, 0o4002),
    tcp_opts: few(undefined, {}, { nodelay: true }, { nodelay: true, keepcnt: 3 }),
    ip_opts: few({}, { ttl: 64 }, { ttl: 65, freebind: true }),
  }),
  numbers: fc.record({ inq_seq: word, outq_seq: word, snd_wl1: word, max_window: word, rcv_wnd: word, rcv_wup: word }),
  parameters: fc.record({
    snd_wscale: few(7, 7, 8),
    opt_mask: few(0, 7),
    mss_clamp: few(1460, 65495),
    timestamp: few(undefined, 17, 0xffff_0000),
  }),
  window: few(undefined, 0, 65536),
  received: few(0, 3, 3, 3, 3, 3, 33_000),
  sent: few(0, 5),
  unsent: few(0, 2),
  isCloexec: fc.boolean(),
});

type Connection = typeof connection extends fc.Arbitrary<infer T> ? T : never;

function entryOf({ entry: { address, ...entry } }: Connection, id: number): InetSkEntry {
  const words = entry.family === 2 ? [address] : [0, 0, 0, address];
  const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
  return { ...entry, id, ino: id + 100, type: 1, proto: 6, backlog: 0, src_addr: words, dst_addr: words, fown };
}

function streamOf({ numbers, parameters, window, received, sent, unsent }: Connection) {
  const message: TcpStreamEntry = {
    ...numbers,
    ...parameters,
    inq_len: received,
    outq_len: sent + unsent,
    unsq_len: unsent,
    snd_wnd: window,
  };
  return { message, payload: new Uint8Array(received + sent + unsent).map((_, i) => i * (numbers.inq_seq & 0xff)) };
}

/** The steps of all, one after the other; a `take` after each leaves nothing behind to be copied. */
function plan(connections: readonly Connection[], isAlone: boolean): Step[] {
  const table = new FdTablePlan(3);
  const steps: Step[] = [];
  let states = new Map<string, unknown>();
  const newContext = () =>
    ({
      options: { tcpEstablished: true },
      tree: { files: new Map(), tasks: [] },
      images: { tryRead: (_: string, ino: number) => [streamOf(connections[ino - 100] as Connection)] },
      system: { deviceIndex: () => 1 },
      state: <T>(key: string, make: () => T) => {
        if (!states.has(key)) states.set(key, make());
        return states.get(key) as T;
      },
    }) as unknown as RestoreContext;
  let context = newContext();
  for (const [id, one] of connections.entries()) {
    if (isAlone) {
      states = new Map();
      context = newContext();
    }
    const made: unknown[] = [];
    const home = {
      table,
      context,
      cloexec: () => (one.isCloexec ? 0o2000000 : 0),
      made: (...args: unknown[]) => made.push(args),
    } as unknown as RestoreHome;
    createInetSocket(entryOf(one, id), home);
    steps.push(...table.take().toSteps());
    expect(made).toEqual([[id, id, one.isCloexec]]);
  }
  return steps;
}

test('connections that are alike are made as by themselves', () => {
  fc.assert(
    fc.property(fc.array(connection, { minLength: 2, maxLength: 8 }), (connections) => {
      expect(plan(connections, false)).toEqual(plan(connections, true));
    }),
    { numRuns: 100 },
  );
});

test('many that differ in little', () => {
  const alike = connection.map((one) => ({
    ...one,
    entry: {
      ...one.entry,
      family: 2,
      state: INET.TCP_ESTABLISHED,
      opts: OPTS[0] as SkOptsEntry,
      ip_opts: {},
      tcp_opts: {},
    },
    parameters: { ...one.parameters, opt_mask: 7, mss_clamp: 1460 },
    received: one.received === 0 ? 3 : 4,
    isCloexec: true,
  }));
  fc.assert(
    fc.property(fc.array(alike, { minLength: 5, maxLength: 20 }), (connections) => {
      expect(plan(connections, false)).toEqual(plan(connections, true));
    }),
  );
});
