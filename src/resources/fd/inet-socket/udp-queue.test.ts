/** Datagrams are sent again to the new socket, from their senders. */
import { describe, expect, test } from 'bun:test';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { AF_INET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreContext } from '../file-kind.ts';
import type { Pointer } from '../step-args.ts';
import { packSockaddr } from './address.ts';
import { planDatagrams } from './udp-queue.ts';

const LOOPBACK = 0x0100_007f;
const OTHER = 0x0200_007f;
const sockaddr = (word: number, port: number) => packSockaddr(AF_INET, { port, words: [word] });

/** The calls that are planned, options by their numbers; packets by their addresses and port in hexadecimal digits, and their length. */
function planned(own: number, message: object, options_ext: object[] = []): string[] {
  const opts = { so_rcv_tmo_sec: 0, so_rcv_tmo_usec: 0, options_ext };
  const entry = { id: 7, family: AF_INET, src_addr: [own], src_port: 5, flags: O_NONBLOCK, opts };
  const context = {
    images: { tryRead: () => [{ message: { id_for: 7, ...message }, payload: Buffer.from('abc') }] },
    state: (_: string, make: () => unknown) => make(),
    system: { deviceIndex: () => 9 },
  } as unknown as RestoreContext;
  const table = new FdTablePlan(3);
  planDatagrams(table, 3, entry as unknown as InetSkEntry, 'it', context, () => table.do('bind', SYS.bind));
  return table
    .take()
    .toSteps()
    .map(({ nr, args }) => {
      const name = Object.entries(SYS).find(([, number]) => number === nr)?.[0] ?? '';
      if (nr === SYS.setsockopt) return `${args[0]}: ${args[1]} ${args[2]}=${words(args[3])}`;
      return nr === SYS.sendmsg ? packetOf(args[1]) : name;
    });
}

const words = (arg: unknown) => new Int32Array((arg as { bytes: Uint8Array }).bytes.slice().buffer).join();

function packetOf(arg: unknown): string {
  const [, vector] = (arg as { pointers: { pointers: Pointer[] }[] }).pointers;
  const text = vector?.pointers.map((part) =>
    'bytes' in part ? Buffer.from(part.bytes).toString('hex') : `+${part.roomAt}`,
  );
  return text?.join(' ') ?? '';
}

const START = ['bind', 'getsockname', '3: 1 42=0', '3: 1 20=1,0,0,0', 'fcntl'];
const END = ['3: 1 20=0,0,0,0', 'fcntl', '3: 1 42=-1'];
const packet = (ttl: string, to: string) => `4500001f00000000${ttl}1100007f000002${to}0009 +2 000b0000616263`;

describe('a datagram', () => {
  const message = { sender_ext: sockaddr(OTHER, 9), target_ext: sockaddr(OTHER, 0) };
  const send = (to: string) => ['socket', '0: 1 36=49428', packet('40', to), 'recvmmsg'];

  test('goes to the address of the socket, on a port of its own', () => {
    expect(planned(LOOPBACK, message)).toEqual([...START, ...send('7f000001'), ...END, 'close', 'connect']);
  });

  test('goes to the address that it was sent to, when the socket has no one address', () => {
    expect(planned(0, message)).toContain(packet('40', '7f000002'));
    expect(planned(0, { sender_ext: message.sender_ext })).toContain(packet('40', '7f000001'));
  });

  const GROUP = 0x0302_01ef;
  const value = new Uint8Array(12);
  value.set([239, 1, 2, 3]);
  const device = ['socket', '0: 1 36=49428', '0: 1 6=1', '0: 1 62=9'];

  test('goes to a group by the device that the socket is a member on', () => {
    const membership = { level: 0, option: 35, value, device: 'eth0', device_offset: 8 };
    const sent = [...device, packet('00', 'ef010203'), 'recvmmsg'];
    expect(planned(GROUP, message, [membership])).toEqual([...START, ...sent, ...END, 'close', 'connect']);
  });

  test('goes to a group that the socket joins for that moment', () => {
    const sent = [...device.slice(0, 3), '0: 1 62=1', `3: 0 35=${GROUP},0,1`, packet('00', 'ef010203'), 'recvmmsg'];
    const after = [...END, `3: 0 36=${GROUP},0,1`, 'close', 'connect'];
    expect(planned(GROUP, message)).toEqual([...START, ...sent, ...after]);
  });

  test('to all hosts comes from the loopback device', () => {
    expect(planned(0xffff_ffff, message)).toContain('0: 1 62=1');
    expect(planned(0xffff_ffff, message)).toContain(packet('00', 'ffffffff'));
  });

  test('without a sender, from a damaged image, is left out', () => {
    expect(planned(LOOPBACK, {})).toEqual([]);
  });
});
