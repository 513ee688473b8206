/** UNIX sockets: names, groups, order in the image, and what is planned. */
import { describe, expect, test } from 'bun:test';
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { SOCK_DGRAM, SOCK_STREAM } from '../../../linux/abi/socket.ts';
import { NO_OWNER } from '../fd-table/open-file.ts';
import { noOptions, peersFirst } from './dump-peers.ts';
import { findCircle } from './in-flight.ts';
import { nameKey, UnixLinks } from './links.ts';
import { fullPath, isPath, movedPath, pathText, showName, socketAddress } from './name.ts';
import { TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN } from './states.ts';

const NOTHING = new Uint8Array(0);

function socket(ino: number, fields: Partial<UnixSkEntry> = {}): UnixSkEntry {
  return {
    id: ino + 100,
    ino,
    type: SOCK_STREAM,
    state: TCP_CLOSE,
    flags: 2,
    uflags: 0,
    backlog: 0,
    peer: 0,
    fown: NO_OWNER,
    opts: noOptions(),
    name: NOTHING,
    pending_ext: [],
    peer_groups_ext: [],
    ...fields,
  };
}

const named = (text: string) => Uint8Array.from(Buffer.from(text, 'latin1'));

describe('names', () => {
  test('a path ends at its NUL', () => {
    expect(pathText(named('/run/x\0'))).toBe('/run/x');
    expect(pathText(named('/run/x'))).toBe('/run/x');
    expect([...socketAddress(named('/x\0'))]).toEqual([1, 0, 0x2f, 0x78, 0]);
  });

  test('a relative one is below its directory', () => {
    expect(fullPath({ name: named('x\0'), name_dir: '/run' })).toBe('/run/x');
    expect(fullPath({ name: named('x\0'), name_dir: '/' })).toBe('/x');
    expect(fullPath({ name: named('/x\0'), name_dir: '/run' })).toBe('/x');
  });

  test('abstract ones are no paths, and all NULs show as @', () => {
    expect(isPath(named('\0a\0b'))).toBe(false);
    expect(showName(named('\0a\0b'))).toBe('@a@b');
    expect(showName(NOTHING)).toBe('no name');
  });
});

describe('groups', () => {
  test('a socket is made with those whose messages wait in it', () => {
    const datagram = (ino: number, name: string) => socket(ino, { type: SOCK_DGRAM, name: named(name) });
    const [receiver, sender, other] = [datagram(1, '/r\0'), datagram(2, '\0s'), datagram(3, '\0t')];
    const links = new UnixLinks([receiver, sender, other], ({ ino }) => (ino === 1 ? [named('\0s')] : []));
    expect(links.groupOf(sender.id)).toBe(links.groupOf(receiver.id));
    expect(links.groupOf(other.id)).not.toBe(links.groupOf(receiver.id));
  });

  test('a renamed file has a path of its own', () => {
    expect(movedPath({ moved_ext: named('/run/ready') })).toBe('/run/ready');
    expect(movedPath({})).toBeUndefined();
  });
});

test('sockets in flight to each other are found, one in flight to itself is none', () => {
  // Two pairs: 1 and 2, 3 and 4.
  const pairs = [socket(1, { peer: 2 }), socket(2, { peer: 1 }), socket(3, { peer: 4 }), socket(4, { peer: 3 })];
  const circle = (rights: Record<number, number[]>) => findCircle(pairs, (id) => rights[id - 100] ?? [])?.ino;
  expect(circle({ 1: [104], 3: [102] })).toBe(1);
  expect(circle({ 1: [104], 2: [101] })).toBeUndefined();
  expect(circle({})).toBeUndefined();
});

describe('order in files.img', () => {
  test('the peer of a socket comes before it', () => {
    const [a, b, c] = [socket(1, { peer: 2 }), socket(2, { peer: 3 }), socket(3)];
    expect(peersFirst([a, b, c])).toEqual([c, b, a]);
  });

  test('pairs stay, whatever their order, and nothing is lost', () => {
    const [a, b, c] = [socket(1, { peer: 2 }), socket(2, { peer: 1 }), socket(3, { peer: 3 })];
    expect(new Set(peersFirst([a, b, c]))).toEqual(new Set([a, b, c]));
  });
});

describe('groups', () => {
  test('peers belong together, and accepted sockets to the listening one of their name', () => {
    const name = named('/run/x\0');
    const listener = socket(1, { state: TCP_LISTEN, name });
    const server = socket(2, { state: TCP_ESTABLISHED, name, peer: 3 });
    const client = socket(3, { state: TCP_ESTABLISHED, peer: 2 });
    const alone = socket(4);
    const links = new UnixLinks([client, server, alone, listener]);
    expect(links.groupOf(client.id)).toBe(links.groupOf(listener.id));
    expect(links.groupOf(alone.id)).not.toBe(links.groupOf(listener.id));
    expect(links.peerOf(client)).toBe(server);
    expect(nameKey(listener)).toBe(nameKey(server));
  });

  test('datagram sockets do not belong together by name', () => {
    const name = named('\0x');
    const links = new UnixLinks([socket(1, { type: SOCK_DGRAM, name }), socket(2, { type: SOCK_DGRAM, name })]);
    expect(links.groupOf(101)).not.toBe(links.groupOf(102));
  });
});
