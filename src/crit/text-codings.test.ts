import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import {
  decodeQuotedPrintable,
  encodeQuotedPrintable,
  tryByteTextOf,
  tryDecodeBase64,
  unicodeOf,
} from './text-codings.ts';

describe('quoted-printable', () => {
  test("is that of Python's quopri", () => {
    const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'));
    const cases: [string, string][] = [
      ['', ''],
      ['/tmp/a sock', '/tmp/a sock'],
      ['\0abstract=1', '=00abstract=3D1'],
      ['blank \n', 'blank=20\n'],
      ['tab\t', 'tab=09'],
      ['.', '=2E'],
      ['\xff', '=FF'],
      ['a\r\nb', 'a\r\nb'],
      ['x'.repeat(80), `${'x'.repeat(75)}=\nxxxxx`],
    ];
    for (const [plain, text] of cases) expect(encodeQuotedPrintable(bytes(plain))).toBe(text);
  });

  test('comes back, whatever the bytes are', () => {
    const byte = fc.oneof(fc.constantFrom(9, 10, 13, 32, 46, 61, 65), fc.nat(255));
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 120 }), (list) => {
        const bytes = Uint8Array.from(list);
        expect(decodeQuotedPrintable(encodeQuotedPrintable(bytes))).toEqual(bytes);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('byte strings', () => {
  test('are Unicode where they are UTF-8, and keep their bytes where not', () => {
    expect(unicodeOf('\xc3\xa4')).toBe('ä');
    expect(unicodeOf('a\xff')).toBe('a\udcff');
    // An overlong slash, a surrogate.
    expect(unicodeOf('\xc0\xaf')).toBe('\udcc0\udcaf');
    expect(unicodeOf('\xed\xa0\x80')).toBe('\udced\udca0\udc80');
    expect(tryByteTextOf('\ud800')).toBeUndefined();
  });

  test('come back', () => {
    const byte = fc.oneof(fc.constantFrom(0x80, 0xbf, 0xc3, 0xe2, 0xed, 0xf0, 0xf4), fc.nat(255));
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 20 }), (list) => {
        const text = String.fromCharCode(...list);
        expect(tryByteTextOf(unicodeOf(text))).toBe(text);
      }),
      { numRuns: 2000 },
    );
  });
});

test('base64 is taken with blanks in it, and refused when it is none', () => {
  expect(tryDecodeBase64('QU\nFB\n')).toEqual(new Uint8Array([65, 65, 65]));
  for (const text of ['A', 'AAAA=', '!AAA', 'AA=A']) expect(tryDecodeBase64(text)).toBeUndefined();
});
