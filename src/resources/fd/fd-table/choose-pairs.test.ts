import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { type FdinfoEntry, FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { O_NONBLOCK, O_RDWR, O_WRONLY } from '../../../linux/abi/fcntl.ts';
import { SOCK_SEQPACKET, SOCK_STREAM } from '../../../linux/abi/socket.ts';
import { noOptions } from '../unix-socket/dump-peers.ts';
import { TCP_ESTABLISHED } from '../unix-socket/states.ts';
import {
  execute,
  fd,
  fown,
  pipe,
  type plan,
  planRows,
  planWithoutRows,
  problems,
  steps,
  task,
} from './plan-files.test-support.ts';

describe('pairs that are rows', () => {
  const buffers = { sendBytes: 200_000, receiveBytes: 200_000 };
  const system = { socketBuffers: () => buffers, groups: () => [] };
  const opts = { ...noOptions(), so_sndbuf: 200_000, so_rcvbuf: 200_000, so_buf_lock: 0 };
  const socket = (id: number, peer: number, more: Partial<UnixSkEntry> = {}): FileEntry => ({
    type: FdTypes.UNIXSK,
    id,
    usk: {
      ...{ id, ino: id + 100, type: SOCK_STREAM, state: TCP_ESTABLISHED, flags: O_RDWR, uflags: 0, backlog: 0 },
      ...{ peer: peer + 100, fown, opts, name: new Uint8Array(0), pending_ext: [], peer_groups_ext: [] },
      ...more,
    },
  });
  const ids = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];
  const typeOf = (id: number) => (id < 10 ? FdTypes.PIPE : FdTypes.UNIXSK);
  const fds = (list: [number, number, number][]) =>
    list.sort(([a], [b]) => a - b).map(([number, id, flags]) => fd(number, id, typeOf(id), flags));
  /** Mostly each has one descriptor, with its neighbour beside it. */
  const table = fc
    .tuple(
      fc.shuffledSubarray(ids),
      fc.array(fc.tuple(fc.nat(30), fc.constantFrom(...ids), fc.nat(1)), { maxLength: 2 }),
    )
    .map(([some, more]) => {
      const each = some.map((id, i): [number, number, number] => [2 * i, id, 0]);
      return fds([...each, ...more].filter(([number], i, all) => all.findIndex(([n]) => n === number) === i));
    });
  const inOrder = fc
    .tuple(fc.subarray(ids), fc.nat(3), fc.nat(1))
    .map(([some, gap, flags]) => fds(some.map((id, i) => [gap + i, id, flags])));
  const special = fc.constantFrom<Partial<UnixSkEntry>>(
    {},
    { flags: O_RDWR | O_NONBLOCK },
    { type: SOCK_SEQPACKET },
    { shutdown: 1 },
    { name: Uint8Array.of(0, 65) },
    { opts: { ...opts, so_keepalive: true } },
    { peer_groups_ext: [8] },
    { peer_cred_ext: { pid: 6, uid: 0, gid: 0 } },
    { peer_cred_ext: { pid: 5, uid: 7, gid: 0 } },
    { fown: { ...fown, pid: 5 } },
  );
  const text = (value: string) => Buffer.from(value);
  const queue = fc
    .array(fc.tuple(fc.constantFrom(11, 12, 13, 14), fc.string({ maxLength: 8 }), fc.nat(9)), { maxLength: 6 })
    .map((list) =>
      list.map(([id_for, value, more]) => ({
        message: { id_for, length: text(value).length, scm: more === 0 ? [{ type: 1, rights: [15] }] : [] },
        payload: text(value),
      })),
    );
  const content = fc
    .array(fc.tuple(fc.constantFrom(71, 73), fc.constantFrom('', 'one', 'three'), fc.option(fc.constant(4096))), {
      maxLength: 3,
    })
    .map((list) =>
      list.map(([pipe_id, value, size]) => ({
        message: { pipe_id, bytes: value.length, ...(size === null ? {} : { size }) },
        payload: text(value),
      })),
    );

  test('come back like others, whatever is special about some of them', () => {
    fc.assert(
      fc.property(
        fc.oneof(inOrder, table),
        fc.oneof(fc.constant<FdinfoEntry[]>([]), table),
        special,
        queue,
        content,
        (first, second, more, messages, data) => {
          const files = [
            ...[71, 73, 75].flatMap((id) => [pipe(id - 70, id, 0), pipe(id - 69, id, O_WRONLY)]),
            ...[11, 13, 15].flatMap((id) => [socket(id, id + 1, id === 13 ? more : {}), socket(id + 1, id)]),
          ];
          const tasks = [task(5, 1, first), ...(second.length > 0 ? [task(6, 2, second)] : [])];
          const images = { 'sk-queues': messages, 'pipes-data': data };
          const outcome = (planOne: typeof plan) => {
            const failed = problems(() => planOne(tasks, files, images, system));
            if (failed.length > 0) return failed;
            const planned = planOne(tasks, files, images, system);
            const pids = tasks.map(({ pid }) => pid);
            const tables = execute(planned, pids);
            return pids.map((pid) => [`${tables.get(pid)}`, tables.get(pid)?.calls.toSorted()]);
          };
          expect(outcome(planRows)).toEqual(outcome(planWithoutRows));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('are made one after the other, and then filled', () => {
    const files = [
      pipe(1, 71, 0),
      pipe(2, 71, O_WRONLY),
      socket(11, 12),
      socket(12, 11),
      socket(13, 14),
      socket(14, 13),
    ];
    const tasks = [task(5, 1, fds([11, 12, 13, 14, 1, 2].map((id, i) => [i, id, 0])))];
    const message = { id_for: 11, length: 2, scm: [] };
    const images = { 'sk-queues': [{ message, payload: text('hi') }] };
    expect(steps(planRows(tasks, files, images, system), 'create', 5).map(({ because }) => because)).toEqual([
      'make socket:[111]',
      'make socket:[113]',
      'fill the queue of socket:[111]',
      'make pipe:[71]',
    ]);
  });

  test('data that belong to nobody are missed', () => {
    const files = [pipe(1, 71, 0), pipe(2, 71, O_WRONLY)];
    const tasks = [
      task(
        5,
        1,
        fds([
          [0, 1, 0],
          [1, 2, 0],
        ]),
      ),
    ];
    const images = { 'pipes-data': [{ message: { pipe_id: 9, bytes: 1, size: 1 }, payload: text('x') }] };
    expect(() => planRows(tasks, files, images, system)).toThrow('pipe_id: 9 is not among the open files');
  });
});
