import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { NCCS, TERMIOS, TERMIOS_BYTES } from '../../../linux/abi/tty.ts';
import { plainTermios } from './queue.ts';
import {
  controlCharacters,
  packControlCharacters,
  packTermios,
  packWinsize,
  parseTermios,
  parseWinsize,
} from './settings.ts';

test('control characters are packed four to a word, in NCCS words', () => {
  const characters = Uint8Array.from({ length: NCCS }, (_, i) => i + 1);
  const words = packControlCharacters(characters);
  expect(words).toEqual([0x04030201, 0x08070605, 0x0c0b0a09, 0x100f0e0d, 0x00131211, ...new Array(14).fill(0)]);
  expect(controlCharacters({ ...parseTermios(new Uint8Array(TERMIOS_BYTES)), c_cc: words })).toEqual(characters);
});

test('what follows the packed characters is ignored: CRIU writes what was in its memory', () => {
  const clean = parseTermios(new Uint8Array(TERMIOS_BYTES));
  const c_cc = clean.c_cc.map((word, i) => (i >= 8 ? 0xdead_beef : word));
  expect(packTermios({ ...clean, c_cc })).toEqual(new Uint8Array(TERMIOS_BYTES));
});

test('any struct termios survives', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: TERMIOS_BYTES, maxLength: TERMIOS_BYTES }), (bytes) => {
      expect(packTermios(parseTermios(bytes))).toEqual(bytes);
    }),
  );
});

test('fields are where the kernel has them', () => {
  const bytes = new Uint8Array(TERMIOS_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(TERMIOS.c_iflag, 1, true);
  view.setUint32(TERMIOS.c_oflag, 2, true);
  view.setUint32(TERMIOS.c_cflag, 3, true);
  view.setUint32(TERMIOS.c_lflag, 0xffff_ffff, true);
  view.setUint8(TERMIOS.c_line, 5);
  const { c_cc: _, ...fields } = parseTermios(bytes);
  const expected = { c_iflag: 1, c_oflag: 2, c_cflag: 3, c_lflag: 0xffff_ffff, c_line: 5, c_ispeed: 0, c_ospeed: 0 };
  expect(fields).toEqual(expected);
});

test('any window size survives', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 8 }), (bytes) => {
      expect(packWinsize(parseWinsize(bytes))).toEqual(bytes);
    }),
  );
});

test('plain settings neither echo nor translate, and keep canonical mode', () => {
  const cooked = { ...parseTermios(new Uint8Array(TERMIOS_BYTES).fill(0xff)), c_cflag: 0xbf };
  const plain = plainTermios(cooked);
  expect(plain).toMatchObject({ c_iflag: 0, c_oflag: 0, c_cflag: 0xbf, c_lflag: 2 });
  expect(controlCharacters(plain)).toEqual(new Uint8Array(NCCS));
  const raw = plainTermios({ ...cooked, c_lflag: 0o10 });
  expect(raw.c_lflag).toBe(0);
  expect(controlCharacters(raw)[6]).toBe(1);
});
