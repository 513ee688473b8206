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
  expect(Buffer.from(program.finish()).toString('hex').match(/.{16}/g)).toEqual([
    '7916080000000000',
    '55060500ffffffff',
    '18020000bbaa9988',
    '0000000044332211',
    '8500000023000000',
    '1500010000000000',
    '631ae8ff00000000',
    'b700000000000000',
    '9500000000000000',
  ]);
});
