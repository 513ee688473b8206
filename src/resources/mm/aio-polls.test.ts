import { describe, expect, test } from 'bun:test';
import { Program } from '../../agent/program.ts';
import { isSameRequest, parseRequest, planPolls } from './aio-polls.ts';

/** struct iocb. */
function iocb(fields: {
  data?: bigint;
  opcode?: number;
  fd?: number;
  events?: number;
  flags?: number;
  resfd?: number;
}) {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, fields.data ?? 7n, true);
  view.setUint16(16, fields.opcode ?? 5, true);
  view.setInt32(20, fields.fd ?? 3, true);
  view.setBigUint64(24, BigInt(fields.events ?? 1), true);
  view.setUint32(56, fields.flags ?? 0, true);
  view.setInt32(60, fields.resfd ?? 0, true);
  return bytes;
}

describe('a poll request', () => {
  const waiting = { iocb: 0x1000n, data: 7n, events: 0x19, file: 1n, eventfd: 0n };

  test('is read from the memory of a task', () => {
    expect(parseRequest(iocb({}))).toEqual({ data: 7n, opcode: 5, fd: 3, events: 1, eventfd: -1 });
    expect(parseRequest(iocb({ flags: 1, resfd: 9 })).eventfd).toBe(9);
  });

  test('is compared with what waits: errors are waited for anyway', () => {
    expect(isSameRequest(parseRequest(iocb({})), waiting)).toBe(true);
    for (const other of [{ data: 8n }, { opcode: 0 }, { events: 4 }]) {
      expect(isSameRequest(parseRequest(iocb(other)), waiting)).toBe(false);
    }
  });

  test('is submitted again with the others of its ring', () => {
    const program = new Program();
    const ring = { nr_req: 8, ring_len: 4096 };
    planPolls(program, [
      { ...ring, id: 0x5000, polls_ext: [] },
      { ...ring, id: 0x6000, polls_ext: [0x1000n, 0x2000n] },
    ]);
    expect(program.length).toBe(1);
    expect(program.describe(0).because).toBe('submit poll requests of asynchronous I/O again');
  });
});
