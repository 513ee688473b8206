import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { CriuError } from '../base/errors.ts';
import { KernelTypes } from './kernel-types.ts';

const STRINGS = '\0outer\0a\0b\0c\0deep\0number\0work\0';
const name = (text: string) => (text === '' ? 0 : STRINGS.indexOf(`\0${text}\0`) + 1);
const word = (...values: number[]) => Buffer.from(Uint32Array.from(values).buffer);
const type = (text: string, kind: number, count: number, size: number, rest = word()) =>
  Buffer.concat([word(name(text), (kind << 24) | count, size), rest]);

/** struct outer { int a; struct { int b; union { int c; int deep; }; }; }; */
function blob(): Uint8Array {
  const types = Buffer.concat([
    type('number', 1, 0, 4, word(32)),
    type('', 5, 2, 4, word(name('c'), 1, 0, name('deep'), 1, 0)),
    type('', 4, 2, 8, word(name('b'), 1, 0, 0, 2, 32)),
    type('', 13, 1, 1, word(0, 1)),
    type('outer', 2, 0, 1),
    type('outer', 4, 2, 12, word(name('a'), 1, 0, 0, 3, 32)),
    type('work', 4, 0, 0),
    type('work', 12, 1, 4),
  ]);
  const header = Buffer.alloc(24);
  header.writeUInt16LE(0xeb9f, 0);
  header.set(word(24, 0, types.length, types.length, STRINGS.length), 4);
  return new Uint8Array(Buffer.concat([header, types, Buffer.from(STRINGS)]));
}

describe('types of the kernel', () => {
  test('members are found, in anonymous structures too', () => {
    const types = new KernelTypes(blob());
    expect(types.offset('outer.a')).toBe(0);
    expect(types.offset('outer.b')).toBe(4);
    expect(types.offset('outer.deep')).toBe(8);
    expect([types.has('outer.c'), types.has('outer.other')]).toEqual([true, false]);
    expect(types.members('outer')).toEqual(['a', 'b', 'c', 'deep']);
    expect(types.size('outer')).toBe(12);
    // The next member of the structure itself counts.
    expect([types.end('outer.a'), types.end('outer.b'), types.end('outer.deep')]).toEqual([4, 12, 12]);
  });

  test('what is not there is an error', () => {
    const types = new KernelTypes(blob());
    const begin = '/sys/kernel/btf/vmlinux: does not say where the kernel has what is needed: ';
    expect(() => types.offset('outer.number')).toThrow(`${begin}it has no outer.number`);
    expect(() => types.offset('outer.other')).toThrow(`${begin}it has no outer.other`);
    expect(() => types.size('number')).toThrow(`${begin}it has no struct number`);
    expect(() => new KernelTypes(blob().subarray(0, 100))).toThrow(`${begin}it is cut off`);
    expect(() => new KernelTypes(new Uint8Array(40))).toThrow(`${begin}it does not begin as BTF`);
  });

  test('garbage never hangs', () => {
    fc.assert(
      fc.property(fc.nat(blob().length - 1), fc.nat(255), (at, value) => {
        const bytes = blob();
        bytes[at] = value;
        try {
          new KernelTypes(bytes).offset('outer.deep');
        } catch (error) {
          expect(error).toBeInstanceOf(CriuError);
        }
      }),
    );
  });
});
