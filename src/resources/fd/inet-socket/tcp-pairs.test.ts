/** Both ends of a connection are made to agree. */
import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { TCP_ESTABLISHED } from '../../../linux/abi/inet.ts';
import { describeStream } from './tcp-pairs.ts';
import type { Receiving, Sending } from './tcp-stream.ts';

function sent(una: number, text: string, unsent: number): Sending {
  const outq_seq = (una + text.length) >>> 0;
  return {
    numbers: { state: TCP_ESTABLISHED, outq_len: text.length, outq_seq, unsq_len: unsent },
    bytes: Buffer.from(text),
  };
}

function received(next: number, window: Partial<Receiving['numbers']> = {}): Receiving {
  const numbers = { inq_len: 2, inq_seq: next >>> 0, opt_mask: 0, snd_wscale: 0, mss_clamp: 536, ...window };
  return { numbers, bytes: Buffer.from('rr') };
}

const ownWindow = { snd_wl1: 0, snd_wnd: 9, max_window: 9, rcv_wnd: 1, rcv_wup: 1 };

function agreed(own: Sending, other: Receiving | undefined) {
  const { message, payload } = describeStream(own, received(77, ownWindow), other);
  const { outq_len, outq_seq, unsq_len = 0, snd_wnd = 0 } = message;
  return { una: (outq_seq - outq_len) >>> 0, outq_len, unsq_len, snd_wnd, payload: payload.toString() };
}

describe('a connection whose other end', () => {
  test('is not in the dump stays as it is', () => {
    expect(agreed(sent(100, 'abcde', 2), undefined)).toEqual({
      una: 100,
      outq_len: 5,
      unsq_len: 2,
      snd_wnd: 9,
      payload: 'rrabcde',
    });
  });

  test('has received more than was sent when it was read has only the rest to send', () => {
    expect(agreed(sent(100, 'abcde', 4), received(103, { rcv_wnd: 50, rcv_wup: 103 }))).toEqual({
      una: 103,
      outq_len: 2,
      unsq_len: 2,
      snd_wnd: 50,
      payload: 'rrde',
    });
  });

  test('has not received what was sent sends it again, as if for the first time', () => {
    expect(agreed(sent(100, 'abcde', 1), received(100, { rcv_wnd: 10, rcv_wup: 98 }))).toEqual({
      una: 100,
      outq_len: 5,
      unsq_len: 5,
      snd_wnd: 8,
      payload: 'rrabcde',
    });
  });

  test('is another connection by its numbers stays as it is', () => {
    expect(agreed(sent(100, 'abcde', 2), received(99)).una).toBe(100);
    expect(agreed(sent(100, 'abcde', 2), received(106)).una).toBe(100);
  });

  test('never has a byte lost or doubled, also where numbers wrap', () => {
    const text = fc.string({ maxLength: 20 }).map((s) => s.replace(/[^a-z]/g, 'x'));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), text, fc.nat(20), (una, queue, arrived) => {
        const got = Math.min(arrived, queue.length);
        const { payload, unsq_len } = agreed(sent(una, queue, 0), received(una + got));
        expect(queue.slice(0, got) + payload.slice(2)).toBe(queue);
        expect(unsq_len).toBe(queue.length - got);
      }),
    );
  });
});
