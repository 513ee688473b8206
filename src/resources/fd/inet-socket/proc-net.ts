/**
 * Raw and ping sockets in /proc/net/raw, raw6, icmp and icmp6: getpeername(2) does not tell whom they are connected to,
 * since they have no ports. Addresses are there as in images: words whose bytes are in network order, printed as numbers.
 */
import { tryReadFile } from '../../../linux/syscalls/fs.ts';
import type { InetAddress } from './address.ts';
import type { KnownSocket } from './sock-diag.ts';

//  5: 0100007F:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 00000000 0
const LINE =
  /^\s*\d+: ([\dA-F]{8,32}):([\dA-F]{4}) ([\dA-F]{8,32}):([\dA-F]{4}) ([\dA-F]{2}) ([\dA-F]{8}):([\dA-F]{8}) \S+ \S+ +\d+ +\d+ (\d+) /;

/** Sockets by inode. Lines that are no such line, as the first, are passed over. */
export function parseProcNet(text: string): Map<number, KnownSocket> {
  const sockets = new Map<number, KnownSocket>();
  for (const line of text.split('\n')) {
    const match = LINE.exec(line);
    if (match === null) continue;
    const [, source = '', sport = '', peer = '', dport = '', state = '', wqueue = '', rqueue = '', inode = ''] = match;
    sockets.set(Number(inode), {
      state: Number.parseInt(state, 16),
      source: parseAddress(source, sport),
      destination: parseAddress(peer, dport),
      rqueue: Number.parseInt(rqueue, 16),
      wqueue: Number.parseInt(wqueue, 16),
      shutdown: 0,
    });
  }
  return sockets;
}

function parseAddress(hex: string, port: string): InetAddress {
  const words = (hex.match(/.{8}/g) ?? []).map((word) => Number.parseInt(word, 16));
  return { port: Number.parseInt(port, 16), words };
}

/** The sockets of our network namespace in one of these files, or −errno. */
export function readProcNet(name: 'raw' | 'raw6' | 'icmp' | 'icmp6'): ReadonlyMap<number, KnownSocket> | number {
  const text = tryReadFile(`/proc/self/net/${name}`);
  return typeof text === 'number' ? text : parseProcNet(text);
}
