import { describe, expect, test } from 'bun:test';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { KIND, OP_ARGS, OP_BYTES, OP_EXPECT, OP_FLAGS, OP_INDIRECT, OP_MUST, OP_NR, OP_RESULT } from './agent-code.ts';
import { RANGE } from './ops.ts';
import { Program } from './program.ts';

const ADDRESS = 0x7000_0000_0000;

function view(block: Uint8Array): DataView {
  return new DataView(block.buffer, block.byteOffset, block.byteLength);
}

describe('a program', () => {
  test('is laid out as ops, then data', () => {
    const program = new Program();
    const text = program.string('/etc');
    program.must('open', 257, -100, text, 0);
    const block = program.assemble(ADDRESS);
    expect(block.length).toBe(OP_BYTES + 8);
    expect(view(block).getUint32(OP_NR, true)).toBe(257);
    expect(view(block).getUint32(OP_FLAGS, true)).toBe(OP_MUST);
    expect(view(block).getBigInt64(OP_ARGS, true)).toBe(-100n);
    expect(view(block).getBigUint64(OP_ARGS + 8, true)).toBe(BigInt(ADDRESS + OP_BYTES));
    expect(Buffer.from(block.subarray(OP_BYTES)).toString('latin1')).toBe('/etc\0\0\0\0');
  });

  test('passes the result of an earlier op by its address, as an indirect argument', () => {
    const program = new Program();
    const fd = program.must('open', 257, -100);
    program.call(3, fd);
    const block = view(program.assemble(ADDRESS));
    expect(block.getUint32(OP_BYTES + OP_FLAGS, true)).toBe(OP_INDIRECT(0));
    expect(block.getBigUint64(OP_BYTES + OP_ARGS, true)).toBe(BigInt(ADDRESS + OP_RESULT));
  });

  test('keeps an expected result in the sixth argument', () => {
    const program = new Program();
    program.expect('open', 7, 257, -100);
    const block = view(program.assemble(ADDRESS));
    expect(block.getUint32(OP_FLAGS, true)).toBe(OP_MUST | OP_EXPECT);
    expect(block.getBigUint64(OP_ARGS + 40, true)).toBe(7n);
  });

  test('shares equal strings and grows its data', () => {
    const program = new Program();
    expect(program.string('a')).toBe(program.string('a'));
    const place = program.data(new Uint8Array(5000).fill(7));
    const block = program.assemble(ADDRESS);
    expect(
      block.subarray(program.placeOffset(place), program.placeOffset(place) + 5000).every((byte) => byte === 7),
    ).toBe(true);
  });

  test('has large data behind the other', () => {
    const program = new Program();
    const blob = program.blob(new Uint8Array(1001).fill(5));
    const text = program.string('/etc');
    program.call(1, blob, program.at(blob, 1000), text);
    const second = program.blob(new Uint8Array(8).fill(6));
    const block = program.assemble(ADDRESS);
    expect(block.length).toBe(program.byteLength);
    const address = (index: number) => Number(view(block).getBigUint64(OP_ARGS + 8 * index, true)) - ADDRESS;
    expect(address(0)).toBe(program.placeOffset(blob));
    expect([block[address(0)], block[address(1)], block[address(1) + 1]]).toEqual([5, 5, 0]);
    expect(block[address(2)]).toBe('/'.charCodeAt(0));
    expect([...block.subarray(program.placeOffset(second))]).toEqual(new Array(8).fill(6));
  });

  test('has parts of one array that are near each other in one piece', () => {
    const image = Uint8Array.from({ length: 5000 }, (_, i) => i % 251);
    const parts = [
      image.subarray(10, 1000),
      image.subarray(1020, 2000),
      image.subarray(2500, 3001),
      image.subarray(0, 9),
    ];
    const program = new Program();
    const places = parts.map((part) => program.blob(part));
    const other = program.blob(new Uint8Array(8).fill(6));
    program.call(1, program.string('x'));
    expect(program.blobs().map(({ bytes }) => bytes.length)).toEqual([1990, 501, 9, 8]);
    const block = program.assemble(ADDRESS);
    expect(block.length).toBe(program.byteLength);
    for (const [i, place] of [...places, other].entries()) {
      const at = program.placeOffset(place);
      expect(block.subarray(at, at + place.bytes)).toEqual(parts[i] ?? new Uint8Array(8).fill(6));
    }
    for (const { offset, bytes } of program.blobs()) {
      expect(block.subarray(offset, offset + bytes.length)).toEqual(bytes);
    }
  });

  test('shares equal ints', () => {
    const program = new Program();
    const place = program.int(-2);
    program.call(54, 3, 1, 7, place, 4);
    expect(program.int(-2)).toBe(place);
    expect(program.int(2)).not.toBe(place);
    expect(view(program.assemble(ADDRESS)).getInt32(program.placeOffset(place), true)).toBe(-2);
  });

  test('keeps thousands of references, in a copy that goes on as well', () => {
    const program = new Program();
    const add = (to: Program, from: number, end: number) => {
      for (let i = from; i < end; i++) to.call(1, i, to.at(room, i), 7, to.at(room, i + 1));
    };
    const room = program.reserve(5000);
    add(program, 0, 1000);
    const copy = program.copy();
    add(program, 1000, 2000);
    add(copy, 1000, 4000);
    for (const [one, count] of [
      [program, 2000],
      [copy, 4000],
    ] as const) {
      const block = view(one.assemble(ADDRESS));
      const argument = (op: number, index: number) =>
        Number(block.getBigUint64(op * OP_BYTES + OP_ARGS + 8 * index, true));
      const start = ADDRESS + one.placeOffset(room);
      for (let i = 0; i < count; i++) {
        expect([0, 1, 2, 3].map((index) => argument(i, index))).toEqual([i, start + i, 7, start + i + 1]);
      }
    }
  });

  test('keeps arguments of 64 bits and negative ones, and grows', () => {
    const values = [2 ** 33 + 5, -1, -(2 ** 40), 0xffff_ffff_ffff_fff0n, -3n, 2 ** 32 - 1];
    const program = new Program();
    for (let i = 0; i < 1000; i++) program.call(i, ...values.map((value) => value));
    const block = view(program.assemble(ADDRESS));
    for (const op of [0, 31, 32, 999]) {
      expect(block.getUint32(op * OP_BYTES + OP_NR, true)).toBe(op);
      const args = values.map((_, i) => block.getBigUint64(op * OP_BYTES + OP_ARGS + 8 * i, true));
      expect(args).toEqual(values.map((value) => BigInt.asUintN(64, BigInt(value))));
    }
  });

  test('repeats ops with their data', () => {
    const [once, again] = [new Program(), new Program()];
    for (const program of [once, again]) program.must('ask', 39);
    const start = again.length;
    for (let i = 0; i < 3; i++) once.must('read', 0, 3, once.string('name')) && once.call(1, 2n ** 40n, once.int(7));
    again.must('read', 0, 3, again.string('name'));
    again.call(1, 2n ** 40n, again.int(7));
    for (let i = 0; i < 2; i++) again.repeat(start, start + 2);
    expect(again.assemble(ADDRESS)).toEqual(once.assemble(ADDRESS));
    expect(again.describe(5).because).toBe(once.describe(5).because);
    const first = again.must('open', 2);
    again.must('close', 3, first);
    expect(() => again.repeat(first.op, first.op + 2)).toThrow('results');
  });

  test('repeats an op with other first arguments', () => {
    const [once, again] = [new Program(), new Program()];
    const [flags, fd] = [0x32, -1];
    for (let i = 0; i < 100; i++) once.must('map', 9, 2 ** 46 + i, 2 ** 32 - 1, i, flags, fd, 2 ** 40);
    const first = again.must('map', 9, 2 ** 46, 2 ** 32 - 1, 0, flags, fd, 2 ** 40);
    for (let i = 1; i < 100; i++) expect(again.again(first, 2 ** 46 + i, 2 ** 32 - 1, i).op).toBe(i);
    expect(again.assemble(ADDRESS)).toEqual(once.assemble(ADDRESS));
    expect(again.describe(99).because).toBe('map');
  });

  test('makes the range in a reason out of the arguments', () => {
    const program = new Program();
    program.must(`map ${RANGE}`, 9, 0x7f00_0000_1000, 0x2000, 3);
    expect(program.describe(0).because).toBe('map 7f0000001000-7f0000003000');
    const block = program.assemble(ADDRESS);
    new DataView(block.buffer).setBigInt64(OP_RESULT, -12n, true);
    expect(program.failures(block).map(({ because }) => because)).toEqual(['map 7f0000001000-7f0000003000']);
  });

  test('makes threads begin at labels that are placed later', () => {
    const program = new Program();
    const start = program.label();
    program.clone('create a thread', 435, program.reserve(88), 88, start);
    program.stop();
    program.place(start);
    program.call(34);
    const block = view(program.assemble(ADDRESS));
    expect(block.getUint32(OP_FLAGS, true)).toBe((KIND.clone << 8) | OP_MUST);
    expect(block.getBigUint64(OP_ARGS + 40, true)).toBe(BigInt(ADDRESS + 2 * OP_BYTES));
    expect(program.endsAt(1)).toBe(true);
  });

  test('does not stop where nobody traces, but tells what failed there', () => {
    const program = new Program();
    program.unchecked(() => {
      program.must('set the name', 157, 15);
    });
    const block = program.assemble(ADDRESS);
    expect(view(block).getUint32(OP_FLAGS, true)).toBe(0);
    expect(program.failures(block)).toEqual([]);
    view(block).setBigInt64(OP_RESULT, -22n, true);
    expect(program.failures(block)).toEqual([{ index: 0, nr: 157, because: 'set the name', result: -22 }]);
  });

  test('refuses a label that was never placed', () => {
    const program = new Program();
    program.jump(program.label());
    expect(() => program.assemble(ADDRESS)).toThrow('bug in criu: the label was placed');
  });
});

test('the same call for many is as many calls', () => {
  const fds = Array.from({ length: 100 }, (_, i) => 3 * i);
  const [one, other] = [new Program(), new Program()];
  for (const program of [one, other]) program.call(SYS.close, program.words(7));
  const first = one.callEach(SYS.fcntl, fds, 1, 9);
  for (const fd of fds) other.call(SYS.fcntl, fd, 1, 9);
  for (const program of [one, other]) program.call(SYS.close, first);
  expect(one.assemble(0x1000)).toEqual(other.assemble(0x1000));
  expect([one.length, first.op]).toEqual([102, 1]);
});
