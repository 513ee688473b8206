import { describe, expect, test } from 'bun:test';
import { Program } from '../../agent/program.ts';
import { abortAddress, parseCriticalSection, planRseq } from './rseq.ts';

describe('abortAddress', () => {
  const section = { start: 0x1000n, bytes: 0x20n, abort: 0x5000n };

  test('is the handler for every instruction of the section', () => {
    expect(abortAddress(0x1000n, section)).toBe(0x5000n);
    expect(abortAddress(0x101fn, section)).toBe(0x5000n);
  });

  test('is none before and after', () => {
    expect(abortAddress(0xfffn, section)).toBeUndefined();
    expect(abortAddress(0x1020n, section)).toBeUndefined();
    expect(abortAddress(0n, section)).toBeUndefined();
  });
});

test('parses struct rseq_cs', () => {
  const words = BigUint64Array.of(0n, 0x1000n, 0x20n, 0x5000n);
  const bytes = new Uint8Array(words.buffer);
  expect(parseCriticalSection(bytes)).toEqual({ start: 0x1000n, bytes: 0x20n, abort: 0x5000n });
});

describe('planRseq', () => {
  const entry = { rseq_abi_pointer: 0x1000n, rseq_abi_size: 32, signature: 1 };

  test('does nothing for a thread without', () => {
    const program = new Program();
    planRseq(program, undefined);
    planRseq(program, { ...entry, rseq_abi_pointer: 0n });
    expect(program.length).toBe(0);
  });

  test('refuses a section that must not be restarted', () => {
    expect(() => planRseq(new Program(), { ...entry, rseq_cs_pointer: 1n })).toThrow(
      'core image: has a thread in a restartable sequence that must not be restarted: ' +
        'Linux supports RSEQ_CS_FLAG_NO_RESTART_ON_SIGNAL no longer since 6.0',
    );
  });
});
