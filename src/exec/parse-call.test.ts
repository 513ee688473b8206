import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { CriuError } from '../base/errors.ts';
import { describeResult, hexDump } from './exec.ts';
import { parseCall } from './parse-call.ts';

const number = (value: bigint) => ({ kind: 'number', value }) as const;

describe('the words of criu exec', () => {
  test('a call by name with numbers, strings and buffers', () => {
    expect(parseCall(['openat', '-100', '&/etc/hosts', '0x0', '010', '@64', '&'])).toEqual({
      name: 'openat',
      nr: 257,
      args: [
        number(-100n),
        { kind: 'text', text: '/etc/hosts' },
        number(0n),
        number(8n),
        { kind: 'buffer', bytes: 64 },
        { kind: 'text', text: '' },
      ],
    });
  });

  test('a call by number gets its name', () => {
    expect(parseCall(['39'])).toEqual({ name: 'getpid', nr: 39, args: [] });
  });

  test.each([
    [[], 'Unknown syscall []: man 2 syscalls has the names'],
    [['nope'], 'Unknown syscall [nope]: man 2 syscalls has the names'],
    [['toString'], 'Unknown syscall [toString]: man 2 syscalls has the names'],
    [['close', 'x'], "'x' is not a number: a string begins with &, a buffer with @"],
    [['close', '089'], "'089' is not a number: a string begins with &, a buffer with @"],
    [
      ['close', '0x10000000000000000'],
      "'0x10000000000000000' is not a number: a string begins with &, a buffer with @",
    ],
    [['read', '0', '@5000'], 'Bad argument size 5000: a buffer has 1 to 4096 bytes'],
    [['read', '0', '@0'], 'Bad argument size 0: a buffer has 1 to 4096 bytes'],
    [['close', '1', '2', '3', '4', '5', '6', '7'], 'close has 7 arguments: a system call takes 6'],
    [['exit', '0'], 'exit cannot be called in another task: it would end the task, copy it, or never return'],
    [['231', '0'], 'exit_group cannot be called in another task: it would end the task, copy it, or never return'],
  ])('%p is refused', (words, text) => {
    expect(() => parseCall(words)).toThrow(new CriuError({ action: text }).message);
  });

  test('garbage gives clear errors only', () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { maxLength: 8 }), (words) => {
        try {
          parseCall(['close', ...words]);
        } catch (error) {
          expect(error).toBeInstanceOf(CriuError);
        }
      }),
    );
  });
});

test('results name the error', () => {
  expect(describeResult({ name: 'close', nr: 3, args: [] }, -9)).toBe('Syscall close (3) returned -9 (EBADF)');
  expect(describeResult({ name: 'getpid', nr: 39, args: [] }, 12)).toBe('Syscall getpid (39) returned 12');
});

test('bytes are shown as numbers and text', () => {
  expect(hexDump(Uint8Array.of(0x41, 0, 0x7f))).toEqual([
    '00000000: 41 00 7f                                        |A..|',
  ]);
});
