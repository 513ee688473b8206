/**
 * What makes UNIX sockets alike: the memory of the kernel's structure of a socket (struct sock), without what differs from
 * socket to socket though nobody has set anything, such as its queues. Sockets in which the rest is the same give the same
 * options. Whatever is unknown here is part of the rest, so at worst more sockets are asked than would have to be.
 */
import type { KernelTypes, MemberPath } from './kernel-types.ts';

/** From where to where in a structure. */
export type Range = readonly [start: number, end: number];

/** Members of struct sock that no option shows. */
const IGNORED: readonly MemberPath[] = [
  'sock.sk_drops',
  'sock.sk_error_queue',
  'sock.sk_receive_queue',
  'sock.sk_backlog',
  'sock.sk_wq',
  'sock.sk_socket',
  'sock.sk_lock',
  'sock.sk_forward_alloc',
  'sock.sk_wmem_queued',
  'sock.sk_wmem_alloc',
  'sock.sk_write_queue',
  'sock.sk_ack_backlog',
  'sock.sk_stamp',
  'sock.sk_ino',
];

/** The parts of struct sock that tell whether sockets are alike; the first two bytes are those of the family. */
export function likenessRanges(types: Pick<KernelTypes, 'has' | 'offset' | 'end' | 'size'>): Range[] {
  const ignored = IGNORED.filter((path) => types.has(path)).map((path): Range => [types.offset(path), types.end(path)]);
  const flags = types.offset('sock_common.skc_flags');
  // Of what comes first, addresses and counters are left out.
  const ranges: Range[] = [
    [types.offset('sock_common.skc_family'), types.end('sock_common.skc_bound_dev_if')],
    [flags, flags + WORD_BYTES],
  ];
  let start = types.size('sock_common');
  for (const [from, to] of ignored.sort((a, b) => a[0] - b[0])) {
    if (from > start) ranges.push([start, from]);
    start = Math.max(start, to);
  }
  if (start < types.size('sock')) ranges.push([start, types.size('sock')]);
  return ranges;
}

const WORD_BYTES = 8;
