/** Established TCP connections: the order of what is planned, and what is refused. */
import { describe, expect, test } from 'bun:test';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import type { TcpStreamEntry } from '../../../image/gen/tcp-stream.ts';
import * as INET from '../../../linux/abi/inet.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreContext } from '../file-kind.ts';
import { endsOf } from './address.ts';
import { checkConnection, finishConnection, nameOf, planConnection } from './tcp-restore.ts';

const LOOPBACK = 0x0100_007f;

const entry = {
  id: 7,
  ino: 0xab,
  family: 2,
  type: 1,
  proto: 6,
  state: INET.TCP_ESTABLISHED,
  src_port: 80,
  dst_port: 99,
  src_addr: [LOOPBACK],
  dst_addr: [LOOPBACK],
  opts: { so_sndbuf: 16, so_rcvbuf: 32, so_filter: [], options_ext: [], reuseaddr: true },
} as unknown as InetSkEntry;

const message: TcpStreamEntry = {
  inq_len: 2,
  inq_seq: 1,
  outq_len: 5,
  outq_seq: 1000,
  unsq_len: 3,
  opt_mask: INET.TCPI_OPT_WSCALE | INET.TCPI_OPT_SACK,
  snd_wscale: 7,
  rcv_wscale: 8,
  mss_clamp: 1460,
  snd_wnd: 4,
};

function contextOf(options: Partial<RestoreContext['options']>) {
  const payload = Buffer.from('rrssuuu');
  return {
    options,
    tree: { files: new Map() },
    images: { tryRead: () => [{ message, payload }] },
    state: (_: string, make: () => unknown) => make(),
  } as unknown as RestoreContext;
}

type Plan = (table: FdTablePlan, context: RestoreContext) => void;

/** TCP options as "NUMBER=VALUE", the others by their system call, data as text. */
function planned(plan: Plan, options: Partial<RestoreContext['options']>): string[] {
  const table = new FdTablePlan(3);
  plan(table, contextOf(options));
  return table
    .take()
    .toSteps()
    .map(({ nr, args }) => {
      const value = args.find((arg) => typeof arg === 'object' && 'bytes' in arg) as { bytes: Uint8Array } | undefined;
      if (nr === SYS.write) return `packet of ${value?.bytes.length}`;
      if (nr === SYS.sendto) return `send ${Buffer.from(value?.bytes ?? []).toString()}`;
      const words = new Int32Array(value?.bytes.slice().buffer ?? new ArrayBuffer(0));
      if (nr === SYS.setsockopt) return `${args[1] === INET.SOL_TCP ? 'tcp' : 'socket'} ${args[2]}=${words.join()}`;
      return Object.entries(SYS).find(([, number]) => number === nr)?.[0] ?? '';
    });
}

/** The last steps of a connection in that state, from its window on, but for its buffer. */
const endOf = (state: number) =>
  planned((table, context) => planConnection(table, 3, { ...entry, state }, 'it', context), {}).slice(16, -1);
const lateOf = (state: number) =>
  planned((table, context) => finishConnection(table, 3, { ...entry, state }, 'it', context), {}).slice(2);

const create: Plan = (table, context) => planConnection(table, 3, entry, 'it', context);
const finish: Plan = (table, context) => finishConnection(table, 3, entry, 'it', context);

describe('a connection', () => {
  test('is made in repair mode, with numbers from before its queues', () => {
    expect(planned(create, { tcpEstablished: true })).toEqual([
      'socket 32=1073741823',
      'socket 33=16',
      'tcp 19=1',
      'bind',
      'tcp 20=2',
      'tcp 21=995',
      'tcp 20=1',
      'tcp 21=-1',
      'tcp 2=1460',
      'connect',
      'tcp 2=0',
      'tcp 22=4,0,3,524295,2,1460',
      'socket 33=1073741823',
      'send rr',
      'tcp 20=2',
      'send ss',
      'tcp 29=0,4,0,0,0',
      'socket 33=16',
    ]);
  });

  test('sends what was never sent after repair mode, and has its options again', () => {
    expect(planned(finish, { tcpEstablished: true })).toEqual(['tcp 19=0', 'socket 2=1', 'send uuu', 'socket 32=8']);
  });

  test('comes back closed with --tcp-close', () => {
    expect(planned(create, { tcpEstablished: true, tcpClose: true })).toEqual(['shutdown']);
    expect(planned(finish, { tcpClose: true })).toEqual(['socket 2=1']);
  });

  test('has the same ends from both sides, also through IPv6', () => {
    const other = { family: 10, src_port: 99, dst_port: 80, src_addr: [0, 0, 0xffff_0000, LOOPBACK] };
    expect(endsOf({ ...other, dst_addr: other.src_addr }).reverse()).toEqual(endsOf(entry));
  });
});

describe('the end of a stream', () => {
  const data = ['send uuu', 'socket 32=8'];
  const packet = ['socket', 'socket 36=49428', 'connect', 'packet of 40', 'close'];
  const sent = ['tcp 20=2', 'shutdown', 'tcp 20=0'];
  const window = 'tcp 29=0,4,0,0,0';
  const windowWithFin = 'tcp 29=0,4,0,1,-1';

  test('that was sent follows the data', () => {
    expect(endOf(INET.TCP_FIN_WAIT1)).toEqual([window]);
    expect(lateOf(INET.TCP_FIN_WAIT1)).toEqual([...data, 'shutdown']);
  });

  test('that was received is a packet', () => {
    expect(endOf(INET.TCP_CLOSE_WAIT)).toEqual([windowWithFin, ...packet]);
    expect(lateOf(INET.TCP_CLOSE_WAIT)).toEqual(data);
  });

  test('that was acknowledged is sent, and a packet acknowledges it', () => {
    expect(endOf(INET.TCP_FIN_WAIT2)).toEqual([window, ...sent, ...packet]);
    expect(lateOf(INET.TCP_FIN_WAIT2)).toEqual(data);
  });

  test('comes in the order in which it came', () => {
    expect(endOf(INET.TCP_LAST_ACK)).toEqual([windowWithFin, ...packet]);
    expect(lateOf(INET.TCP_LAST_ACK)).toEqual([...data, 'shutdown']);
    const held = ['tcp 29=0,0,0,1,-1', 'tcp 19=-1', 'send uuu', 'shutdown', 'tcp 19=1', ...packet];
    expect(endOf(INET.TCP_CLOSING)).toEqual(held);
    const late = planned(
      (table, context) => finishConnection(table, 3, { ...entry, state: INET.TCP_CLOSING }, 'it', context),
      {},
    );
    expect(late).toEqual(['tcp 29=0,4,0,0,0', 'tcp 19=0', 'socket 2=1', 'tcp 3=0', 'socket 32=8']);
    expect(endOf(INET.TCP_CLOSE)).toEqual([windowWithFin, ...packet, ...sent, ...packet]);
  });

  test('that was a reset is a packet too', () => {
    const reset = { ...message, reset_ext: true };
    const context = {
      ...contextOf({}),
      images: { tryRead: () => [{ message: reset, payload: Buffer.from('rrssuuu') }] },
    };
    const steps = planned(
      (table) => planConnection(table, 3, { ...entry, state: INET.TCP_CLOSE }, 'it', context as never),
      {},
    );
    expect(steps.slice(16, -1)).toEqual([windowWithFin, ...packet]);
  });

  test('a connection that was only asked for is asked for again', () => {
    expect(endOf(INET.TCP_SYN_SENT)).toEqual([]);
    expect(lateOf(INET.TCP_SYN_SENT)).toEqual(['fcntl', 'connect', ...data, 'fcntl']);
  });
});

describe('what is refused', () => {
  const object = nameOf(entry);
  const action = 'cannot be restored';
  const remedy = 'let it come back closed with --tcp-close';

  test('all without an option', () => {
    const both = `keep it with --tcp-established, or ${remedy}`;
    expect(checkConnection(entry, contextOf({}))).toEqual([
      { object, action, why: 'it is a TCP connection', remedy: both },
    ]);
    expect(checkConnection(entry, contextOf({ tcpEstablished: true }))).toEqual([]);
    expect(checkConnection(entry, contextOf({ tcpClose: true }))).toEqual([]);
  });

  test('states that no descriptor can have', () => {
    const waiting = { ...entry, state: 6 };
    expect(checkConnection(waiting, contextOf({ tcpEstablished: true }))).toEqual([
      { object, action, why: 'TCP connections in state TIME_WAIT cannot be kept', remedy },
    ]);
  });

  test('those without an image', () => {
    const context = { ...contextOf({ tcpEstablished: true }), images: { tryRead: () => undefined } };
    const why = 'tcp-stream-ab.img is missing: the image is incomplete, or from a dump with --tcp-close';
    expect(checkConnection(entry, context as unknown as RestoreContext)).toEqual([{ object, action, why }]);
  });
});
