import { describe, expect, test } from 'bun:test';
import { ABI_64 } from '../../agent/abi.ts';
import {
  KIND,
  OP_ARGS,
  OP_BYTES,
  OP_EXPECT,
  OP_FLAGS,
  OP_INDIRECT,
  OP_MUST,
  OP_RESULT,
} from '../../agent/agent-code.ts';
import { Program } from '../../agent/program.ts';
import { IntArg, type StepArg, StepList } from './step.ts';

function listOf(): StepList {
  const list = new StepList();
  list.add('first', 1, [5, { text: 'abc' }, -1]);
  list.add(['second', 'one'], 2, [5, { bytes: Uint8Array.of(1, 2, 3) }, 3], 3);
  list.addTolerant('third', 3, [5, new IntArg(7), 2 ** 33]);
  return list;
}

const programOf = (add: (program: Program) => void) => {
  const program = new Program();
  add(program);
  const block = program.assemble(0x1000);
  return { program, view: new DataView(block.buffer) };
};

describe('a list of steps', () => {
  test('can be read as data', () => {
    const args: StepArg[][] = [
      [5, { text: 'abc' }, -1],
      [5, { bytes: Uint8Array.of(1, 2, 3) }, 3],
      [5, new IntArg(7), 2 ** 33],
    ];
    expect(listOf().toSteps()).toEqual([
      { nr: 1, because: 'first', args: args[0] ?? [] },
      { nr: 2, because: 'second one', args: args[1] ?? [], expected: 3 },
      { nr: 3, because: 'third', args: args[2] ?? [], mayFail: true },
    ]);
  });

  test('becomes ops of a program, which stops where one fails', () => {
    const { program, view } = programOf((it) => {
      it.call(9);
      listOf().addTo(it, ABI_64);
    });
    const flags = [0, 1, 2, 3].map((op) => view.getUint32(op * OP_BYTES + OP_FLAGS, true));
    expect(flags).toEqual([0, OP_MUST, OP_MUST | OP_EXPECT, 0]);
    expect(program.describe(2)).toMatchObject({ nr: 2, because: 'second one' });
    expect(program.byteLength).toBeLessThanOrEqual(OP_BYTES + listOf().programBytes);
  });

  test('whose steps are copies has them one after the other', () => {
    const list = new StepList();
    list.add('before', 1, []);
    const many = list.addMany(100, 2, [0, 7], 0);
    for (let i = 0; i < 100; i++) {
      many.words[many.start + (i * OP_BYTES + OP_ARGS) / 4] = i;
    }
    many.because(Array.from({ length: 100 }, (_, i) => ['number', i]));
    const steps = list.toSteps();
    expect(steps).toHaveLength(101);
    expect(steps[100]).toEqual({ nr: 2, because: 'number 99', args: [99, 7], expected: 0 });
    expect(steps[1]).toEqual({ nr: 2, because: 'number 0', args: [0, 7], expected: 0 });
  });
});

describe('steps of our own', () => {
  test('have the result of the first, and stop nowhere', () => {
    const { view } = programOf((it) => {
      it.call(9);
      listOf().addUnchecked(it, [{ start: 0, end: 3 }]);
    });
    const flags = [1, 2, 3].map((op) => view.getUint32(op * OP_BYTES + OP_FLAGS, true));
    expect(flags).toEqual([KIND.syscall << 8, OP_INDIRECT(0), OP_INDIRECT(0)]);
    for (const op of [2, 3]) {
      expect(Number(view.getBigUint64(op * OP_BYTES + OP_ARGS, true))).toBe(0x1000 + OP_BYTES + OP_RESULT);
    }
  });

  test('tell which has failed', () => {
    const list = listOf();
    const failure = (results: number[], tolerated: number[] = []) =>
      list.findFailure((i) => results[i] ?? 0, tolerated);
    expect(failure([0, 3, -22])).toBeUndefined();
    expect(failure([-9, 3, 0])).toEqual({ step: 0, because: 'first', result: -9, expected: undefined });
    expect(failure([-9, 2, 0], [9])).toEqual({ step: 1, because: 'second one', result: 2, expected: 3 });
    expect(failure([-9, -32, 0], [9, 32])).toBeUndefined();
  });
});
