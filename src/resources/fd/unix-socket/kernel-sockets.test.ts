import { expect, test } from 'bun:test';
import type { UnixDiag } from '../../../netlink/unix-diag.ts';
import { KernelSockets } from './kernel-sockets.ts';

function socket(ino: number, pending: readonly number[] = []): UnixDiag {
  const name = new Uint8Array(0);
  return { ino, type: 1, state: 1, peer: 0, name, receiveQueue: 0, sendQueue: 0, pending, shutdown: 0 };
}

test('a socket that the list has left out is asked for, once', () => {
  const asked: number[] = [];
  const sockets = new KernelSockets([socket(1)], (ino) => {
    asked.push(ino);
    return ino === 7 ? socket(7, [9]) : undefined;
  });
  expect([sockets.get(1)?.ino, sockets.get(7)?.ino, sockets.get(7)?.ino, sockets.get(8)]).toEqual([1, 7, 7, undefined]);
  expect(asked).toEqual([7, 8]);
  expect(sockets.listenerOf(9)?.ino).toBe(7);
});
