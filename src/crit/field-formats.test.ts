import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { formatNumber, tryFormatAddress, tryParseAddress, tryParseNumber } from './field-formats.ts';

describe('numbers', () => {
  test('are shown as their field wants it', () => {
    expect(formatNumber(255, 'x', { hex: true }, false)).toBe('0xff');
    expect(formatNumber(255, 'x', undefined, true)).toBe('0xff');
    expect(formatNumber(-1, 'x', { hex: true }, false)).toBe('0x-1');
    expect(formatNumber(0o100002, 'flags', { flags: 'rfile.flags' }, false)).toBe('O_RDWR | O_LARGEFILE');
    expect(formatNumber(0, 'flags', { flags: 'rfile.flags' }, false)).toBe('');
    expect(formatNumber(0x4000_0001, 'flags', { flags: 'mmap.flags' }, false)).toBe('MAP_SHARED | 0x40000000');
    expect(formatNumber(1, 'family', { dict: 'sk' }, false)).toBe('UNIX');
    expect(formatNumber(77, 'family', { dict: 'sk' }, false)).toBe(77);
    expect(formatNumber(3, 'task_state', { dict: 'gen' }, false)).toBe('Zombie');
    expect(formatNumber(0x80_0003, 'dev', { dev: true }, false)).toBe('8:3');
    expect(formatNumber(0x803, 'dev', { dev: true, odev: true }, false)).toBe('8:3');
    expect(formatNumber(7, 'id', undefined, false)).toBe(7);
  });

  test('come back from every form', () => {
    const forms = [
      { hex: true },
      { dev: true },
      { dev: true, odev: true },
      { flags: 'rfile.flags' },
      { flags: 'mmap.status' },
      { flags: 'unknown' },
      { dict: 'sk' },
      undefined,
    ] as const;
    fc.assert(
      fc.property(
        fc.nat(0xffff_ffff),
        fc.constantFrom(...forms),
        fc.constantFrom('family', 'state', 'x'),
        (value, form, name) => {
          const shown = formatNumber(value, name, form, false);
          const parsed = typeof shown === 'string' ? tryParseNumber(shown, name, form) : BigInt(shown);
          expect(parsed).toBe(BigInt(value));
        },
      ),
    );
  });

  test('are not made of other texts', () => {
    for (const text of ['', 'x', '0x', '1 2', '08', '--1', '1e3'])
      expect(tryParseNumber(text, 'x', undefined)).toBeUndefined();
    expect(tryParseNumber('O_RDWR | O_NOTHING', 'flags', { flags: 'rfile.flags' })).toBeUndefined();
    expect(tryParseNumber('8:x', 'dev', { dev: true })).toBeUndefined();
  });
});

describe('addresses', () => {
  const words = (bytes: number[]): number[] => {
    const view = new DataView(Uint8Array.from(bytes).buffer);
    return Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4, true));
  };

  test('have their usual text', () => {
    expect(tryFormatAddress(words([127, 0, 0, 1]))).toBe('127.0.0.1');
    expect(tryFormatAddress([0, 0, 0, 0])).toBe('::');
    expect(tryFormatAddress(words([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]))).toBe('::1');
    expect(tryFormatAddress(words([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2]))).toBe('fe80::1:0:0:2');
    expect(tryFormatAddress([1, 2])).toBeUndefined();
  });

  test('come back', () => {
    const address = fc.oneof(
      fc.array(fc.nat(0xffff_ffff), { minLength: 1, maxLength: 1 }),
      fc.array(fc.oneof(fc.constant(0), fc.constant(0x1000), fc.nat(0xffff_ffff)), { minLength: 4, maxLength: 4 }),
    );
    fc.assert(fc.property(address, (list) => expect(tryParseAddress(tryFormatAddress(list) ?? '')).toEqual(list)));
  });

  test('are not made of other texts', () => {
    for (const text of [
      '',
      '1.2.3',
      '1.2.3.256',
      '01.2.3.4',
      ':::',
      '1::2::3',
      '1:2:3:4:5:6:7:8:9',
      '12345::',
      'g::',
    ]) {
      expect(tryParseAddress(text)).toBeUndefined();
    }
    expect(tryParseAddress('::ffff:1.2.3.4')).toEqual(words([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4]));
  });
});
