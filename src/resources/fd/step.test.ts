import { describe, expect, test } from 'bun:test';
import { ABI_64 } from '../../agent/abi.ts';
import { OP_ARGS, OP_BYTES, OP_EXPECT, OP_FLAGS, OP_MUST } from '../../agent/agent-code.ts';
import { Program } from '../../agent/program.ts';
import { StepList } from './step.ts';
import { IntArg, type StepArg } from './step-args.ts';

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

describe('a frame of steps', () => {
  const SENDTO = 44;
  const address = (number: number) => Uint8Array.of(2, 0, number, 0, 127);
  const addAll = (list: StepList, fd: number, option: number, port: number, data: string) => {
    const bytes = Buffer.from(data, 'latin1');
    list.add(['make', 'it'], 41, [2, 1], fd);
    list.addOption(['set', 'it'], fd, 6, 19, option);
    list.add(['bind', 'it'], 49, [fd, { bytes: address(port) }, 5], 0);
    list.add(['fill', 'it'], SENDTO, [fd, { bytes }, bytes.length], bytes.length);
  };
  /** The first steps, and copies of them with other data. */
  const withCopies = () => {
    const list = new StepList();
    list.add('before', 1, []);
    addAll(list, 3, -1, 80, 'some');
    const frame = list.tryFrameFrom(1, SENDTO);
    if (frame === undefined) throw new Error('it is a frame');
    for (const fd of [4, 5]) {
      const data = frame.data.slice();
      data.set(address(80 + fd), frame.dataOf(2));
      new DataView(data.buffer).setInt32(frame.dataOf(1), fd, true);
      list.addFrame(frame, fd, data, [Buffer.from(`more for ${fd}`, 'latin1')], {
        textOf: (step) => `step ${step} of ${fd}`,
      });
    }
    return list;
  };
  const alone = () => {
    const list = new StepList();
    list.add('before', 1, []);
    addAll(list, 3, -1, 80, 'some');
    addAll(list, 4, 4, 84, 'more for 4');
    addAll(list, 5, 5, 85, 'more for 5');
    return list;
  };

  test('is the same as steps by themselves', () => {
    const plain = (list: StepList) =>
      list.toSteps().map(({ because: _, args, ...step }) => ({
        ...step,
        args: args.map((arg) => (typeof arg === 'object' && 'bytes' in arg ? [...arg.bytes] : arg)),
      }));
    expect(plain(withCopies())).toEqual(plain(alone()));
  });

  test('becomes ops whose addresses are those of its data', () => {
    const list = withCopies();
    const { view } = programOf((it) => list.addTo(it, ABI_64));
    const argument = (step: number, index: number) =>
      Number(view.getBigUint64(step * OP_BYTES + OP_ARGS + 8 * index, true));
    const bytesAt = (at: number, count: number) => [...new Uint8Array(view.buffer, at - 0x1000, count)];
    for (const [i, fd] of [3, 4, 5].entries()) {
      const first = 1 + 4 * i;
      expect(argument(first, 5)).toBe(fd);
      expect([1, 2, 3].map((step) => argument(first + step, 0))).toEqual([fd, fd, fd]);
      expect(view.getInt32(argument(first + 1, 3) - 0x1000, true)).toBe(fd === 3 ? -1 : fd);
      expect(bytesAt(argument(first + 2, 1), 5)).toEqual([...address(fd === 3 ? 80 : 80 + fd)]);
      const text = fd === 3 ? 'some' : `more for ${fd}`;
      expect(Buffer.from(bytesAt(argument(first + 3, 1), text.length)).toString()).toBe(text);
      expect([2, 5].map((index) => argument(first + 3, index))).toEqual([text.length, text.length]);
    }
  });

  test('says what each step is for, and is not cut', () => {
    const list = withCopies();
    expect(
      list
        .toSteps()
        .slice(4, 7)
        .map(({ because }) => because),
    ).toEqual(['fill it', 'step 0 of 4', 'step 1 of 4']);
    const { program } = programOf((it) => list.addTo(it, ABI_64, 5, list.length));
    expect(program.describe(2).because).toBe('step 2 of 4');
    expect(program.describe(7).because).toBe('step 3 of 5');
    expect([4, 5, 6, 8, 9, 10].map((step) => list.cutAt(step))).toEqual([4, 5, 9, 9, 9, 13]);
  });

  test('is made of nothing that may fail, or has objects of other kinds', () => {
    const list = new StepList();
    list.addTolerant('first', 3, [5]);
    expect(list.tryFrameFrom(0, SENDTO)).toBeUndefined();
    list.add('second', 3, [5, { text: 'abc' }]);
    expect(list.tryFrameFrom(1, SENDTO)).toBeUndefined();
    list.add('third', 3, [5]);
    expect(list.tryFrameFrom(2, SENDTO)?.length).toBe(1);
  });
});

describe('steps of our own', () => {
  test('stop nowhere', () => {
    const { view } = programOf((it) => {
      it.call(9);
      listOf().addUnchecked(it);
    });
    const flags = [1, 2, 3].map((op) => view.getUint32(op * OP_BYTES + OP_FLAGS, true));
    expect(flags).toEqual([0, 0, 0]);
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
