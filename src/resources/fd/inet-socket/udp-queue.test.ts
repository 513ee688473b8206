/** Datagrams are sent again to the new socket, from their senders. */
import { describe, expect, test } from 'bun:test';
import type { InetSkEntry } from '../../../image/gen/sk-inet.ts';
import { AF_INET } from '../../../linux/abi/socket.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreContext } from '../file-kind.ts';
import { packSockaddr } from './address.ts';
import { planDatagrams } from './udp-queue.ts';

const LOOPBACK = 0x0100_007f;
const OTHER = 0x0200_007f;
const sockaddr = (word: number, port: number) => packSockaddr(AF_INET, { port, words: [word] });

/** The calls that are planned: packets by their addresses in hexadecimal digits, and their length. */
function planned(own: number, message: object, isShared: boolean): string[] {
  const entry = { id: 7, family: AF_INET, src_addr: [own], src_port: 5 } as unknown as InetSkEntry;
  const context = {
    images: { tryRead: () => [{ message: { id_for: 7, ...message }, payload: Buffer.from('abc') }] },
    state: (_: string, make: () => unknown) => make(),
  } as unknown as RestoreContext;
  const table = new FdTablePlan(3);
  planDatagrams(table, 3, entry, 'it', context, isShared);
  return table
    .take()
    .toSteps()
    .map(({ nr, args }) => {
      const [, data] = args;
      const name = Object.entries(SYS).find(([, number]) => number === nr)?.[0] ?? '';
      if (nr !== SYS.sendto || typeof data !== 'object' || !('bytes' in data)) return name;
      return `${Buffer.from(data.bytes.subarray(12, 24)).toString('hex')} ${data.bytes.length}`;
    });
}

describe('a datagram', () => {
  const message = { sender_ext: sockaddr(OTHER, 9), target_ext: sockaddr(OTHER, 0) };

  test('goes to the address of the socket', () => {
    expect(planned(LOOPBACK, message, false)).toEqual([
      ...['socket', 'setsockopt', '7f0000027f00000100090005 31', 'poll', 'close'],
    ]);
  });

  test('goes to the address that it was sent to, when the socket has no one address', () => {
    expect(planned(0, message, false)[2]).toBe('7f0000027f00000200090005 31');
    expect(planned(0, { sender_ext: message.sender_ext }, false)[2]).toBe('7f0000027f00000100090005 31');
  });

  test('reaches a socket that shares its port, because that is connected for a moment', () => {
    const calls = ['socket', 'setsockopt', 'connect', '7f0000027f00000100090005 31', 'poll', 'close', 'connect'];
    expect(planned(LOOPBACK, message, true)).toEqual(calls);
  });

  test('without a sender, from a damaged image, is left out', () => {
    expect(planned(LOOPBACK, {}, false)).toEqual([]);
  });
});
