import { expect, test } from 'bun:test';
import { BPF_FUNC_get_current_task } from './abi/bpf.ts';
import { BpfProgram } from './bpf-assembler.ts';

test('instructions, and jumps to the end', () => {
  const program = new BpfProgram();
  program.load(6, 1, 8);
  program.endUnless(6, -1);
  program.set64(2, 0x1122_3344_8899_aabbn);
  program.call(BPF_FUNC_get_current_task);
  program.endIfZero(0);
  program.store32(-24, 1);
  program.endIfAbove(8, 8192);
  program.moveIfZero(7, 0);
  program.store(6, 8, 0);
  expect(Buffer.from(program.finish()).toString('hex').match(/.{16}/g)).toEqual([
    '7916080000000000',
    '55060900ffffffff',
    '18020000bbaa9988',
    '0000000044332211',
    '8500000023000000',
    '1500050000000000',
    '631ae8ff00000000',
    '2508030000200000',
    '5507010000000000',
    'bf07000000000000',
    '7b06080000000000',
    'b700000000000000',
    '9500000000000000',
  ]);
});

test('a body that is repeated, and jumps to its end', () => {
  const program = new BpfProgram();
  program.endIfZero(6);
  program.repeat(7, 64, () => {
    program.endUnless(1, 128);
    program.move(2, 3);
  });
  expect(Buffer.from(program.finish()).toString('hex').match(/.{16}/g)).toEqual([
    '1506050000000000',
    'b707000000000000',
    '5501010080000000',
    'bf32000000000000',
    '0707000001000000',
    'a507fcff40000000',
    'b700000000000000',
    '9500000000000000',
  ]);
});

test('numbers of other sizes, and arithmetic', () => {
  const program = new BpfProgram();
  program.load(1, 9, 4, 2);
  program.load(1, 9, 4, 4);
  program.store(8, 40, 1, 4);
  program.addRegister(3, 1);
  program.shiftLeft(1, 3);
  program.shiftRight(1, 6);
  program.or(7, 0);
  program.and(0, -8);
  program.multiply(8, 1);
  program.xor(1, 1);
  program.zeroIfAbove(0, 4096);
  program.zeroIfSame(3, 1, 7);
  expect(Buffer.from(program.finish()).toString('hex').match(/.{16}/g)?.slice(0, -2)).toEqual([
    '6991040000000000',
    '6191040000000000',
    '6318280000000000',
    '0f13000000000000',
    '6701000003000000',
    '7701000006000000',
    '4f07000000000000',
    '57000000f8ffffff',
    '2f18000000000000',
    'a701000001000000',
    'b500010000100000',
    'b700000000000000',
    '5501010007000000',
    'b703000000000000',
  ]);
});
