import { expect, test } from 'bun:test';
import type { MemberPath } from './kernel-types.ts';
import { likenessRanges } from './socket-likeness.ts';

/** Where a structure of sockets may have its members. */
const MEMBERS: Partial<Record<MemberPath, readonly [offset: number, end: number]>> = {
  'sock_common.skc_family': [16, 18],
  'sock_common.skc_bound_dev_if': [20, 24],
  'sock_common.skc_flags': [96, 104],
  'sock.sk_receive_queue': [144, 168],
  'sock.sk_drops': [136, 140],
  'sock.sk_stamp': [792, 800],
  'sock.sk_backlog': [168, 192],
};

const types = {
  has: (path: MemberPath) => path in MEMBERS,
  offset: (path: MemberPath) => MEMBERS[path]?.[0] ?? -1,
  end: (path: MemberPath) => MEMBERS[path]?.[1] ?? -1,
  size: (name: string) => ({ sock_common: 136, sock: 800 })[name] ?? -1,
};

test('all of a socket counts but for queues and the like, which some kernels do not have', () => {
  expect(likenessRanges(types)).toEqual([
    [16, 24],
    [96, 104],
    [140, 144],
    [192, 792],
  ]);
});
