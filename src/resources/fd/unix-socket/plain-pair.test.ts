import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { O_CLOEXEC, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM } from '../../../linux/abi/socket.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import { NO_OWNER } from '../fd-table/open-file.ts';
import type { RestoreContext, RestoreHome } from '../file-kind.ts';
import { createSockets } from './create-sockets.ts';
import { noOptions } from './dump-peers.ts';
import { tryCreatePair } from './plain-pair.ts';
import { TCP_ESTABLISHED, TCP_LISTEN } from './states.ts';

const BUFFERS = { sendBytes: 200_000, receiveBytes: 200_000 };
const OPTIONS = { ...noOptions(), so_buf_lock: 0, so_sndbuf: 200_000, so_rcvbuf: 200_000 };

function socket(ino: number, peer: number, more: Partial<UnixSkEntry>): UnixSkEntry {
  return {
    id: ino + 100,
    ino,
    type: SOCK_STREAM,
    state: TCP_ESTABLISHED,
    flags: 2,
    uflags: 0,
    backlog: 0,
    peer,
    fown: NO_OWNER,
    opts: OPTIONS,
    name: new Uint8Array(0),
    pending_ext: [],
    peer_groups_ext: [],
    ...more,
  };
}

interface Message {
  readonly to: number;
  readonly text: string;
  readonly more?: object;
}

function planned(
  create: (entries: UnixSkEntry[], home: RestoreHome) => unknown,
  entries: UnixSkEntry[],
  queue: Message[],
) {
  const table = new FdTablePlan(100);
  const states = new Map<string, unknown>();
  const context = {
    options: { inheritFds: [] },
    tree: { files: new Map(entries.map((usk) => [usk.id, { type: FdTypes.UNIXSK, id: usk.id, usk }])) },
    images: {
      tryRead: () =>
        queue.map(({ to, text, more }) => ({
          message: { id_for: to + 100, length: text.length, scm: [], ...more },
          payload: Buffer.from(text),
        })),
    },
    system: { socketBuffers: () => BUFFERS, groups: () => [7] },
    state(key: string, make: () => unknown) {
      if (!states.has(key)) states.set(key, make());
      return states.get(key);
    },
  } as unknown as RestoreContext;
  const made: unknown[] = [];
  const cloexec = (id: number) => (entries.find((entry) => entry.id === id)?.backlog === 1 ? O_CLOEXEC : 0);
  const home = { context, table, cloexec, made: (...args: unknown[]) => made.push(args) } as unknown as RestoreHome;
  const result = create(entries, home);
  return { result, steps: table.take().toSteps(), made };
}

// What a new socket has is known from a socket before.
planned(createSockets, [socket(1, 2, { peer_groups_ext: [7] }), socket(2, 1, { peer_groups_ext: [7] })], []);

/** Whether it is planned as a plain pair; if so, with the steps that it would get otherwise. */
function isPlain(entries: UnixSkEntry[], queue: Message[] = []): boolean {
  const found = planned(tryCreatePair, entries, queue);
  if (found.result === false) {
    expect(found.steps).toEqual([]);
    return false;
  }
  const { steps, made } = planned(createSockets, entries, queue);
  expect(found.steps).toEqual(steps);
  expect(found.made).toEqual(made);
  return true;
}

const pair = (own: Partial<UnixSkEntry>, other: Partial<UnixSkEntry> = own) => [
  socket(1, 2, { peer_groups_ext: [7], ...own }),
  socket(2, 1, { peer_groups_ext: [7], ...other }),
];

test('a plain pair gets the steps that it would get otherwise', () => {
  const fields = fc.record({ flags: fc.constantFrom(2, 2 | O_NONBLOCK), backlog: fc.constantFrom(0, 1) });
  const type = fc.constantFrom(SOCK_STREAM, SOCK_SEQPACKET);
  const queue = fc.array(fc.record({ to: fc.constantFrom(1, 2), text: fc.string({ maxLength: 20 }) }), {
    maxLength: 5,
  });
  fc.assert(
    fc.property(type, fields, fields, queue, (type, own, other, messages) => {
      expect(isPlain(pair({ ...own, type }, { ...other, type }), messages)).toBeTrue();
    }),
  );
});

test('what is special about a socket keeps it from being one of a plain pair', () => {
  expect(isPlain(pair({ peer_cred_ext: { pid: 5, uid: 0, gid: 0 } }))).toBeTrue();
  const special: Partial<UnixSkEntry>[] = [
    { type: SOCK_DGRAM },
    { state: TCP_LISTEN },
    { uflags: 1 },
    { name: Uint8Array.of(0, 65) },
    { shutdown: 1 },
    { peer: 9 },
    { peer_cred_ext: { pid: 5, uid: 6, gid: 0 } },
    { peer_groups_ext: [] },
    { opts: { ...OPTIONS } },
    { opts: { ...OPTIONS, so_keepalive: true } },
  ];
  for (const more of special) {
    expect(planned(tryCreatePair, pair({}, more), []).result).toBeFalse();
    expect(planned(tryCreatePair, pair(more, {}), []).result).toBeFalse();
  }
  const messages: object[] = [
    { creds_ext: { pid: 1, uid: 0, gid: 0 } },
    { sender_ext: Uint8Array.of(65) },
    { scm: [{ type: 1, rights: [3] }] },
  ];
  for (const more of messages)
    expect(planned(tryCreatePair, pair({}), [{ to: 1, text: 'x', more }]).result).toBeFalse();
  expect(planned(tryCreatePair, pair({}), [{ to: 1, text: 'x'.repeat(60_000) }]).result).toBeFalse();
  expect(planned(tryCreatePair, [...pair({}), socket(3, 0, {})], []).result).toBeFalse();
});
