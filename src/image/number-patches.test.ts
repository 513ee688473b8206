import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { encode } from './codec.ts';
import { CoreEntry } from './gen/core.ts';
import { arbitraryMessage } from './message-arbitrary.test-support.ts';
import { NumberPatches } from './number-patches.ts';

/** So many that the length of the message they are in takes one byte or two. */
const REGISTERS = ['r15', 'bp', 'bx', 'ax', 'cx', 'dx', 'si', 'di', 'ip', 'sp'] as const;
const PATHS = [
  ...REGISTERS.map((name) => `thread_info.gpregs.${name}`),
  'thread_info.clear_tid_addr',
  'thread_core.futex_rla',
];

/** With numbers of all lengths. */
const word = fc.integer({ min: 0, max: 64 }).chain((bits) => fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n }));
const words = fc.array(word, { minLength: PATHS.length, maxLength: PATHS.length });
const halves = (values: readonly bigint[]) => new Uint32Array(BigUint64Array.from(values).buffer);

function changed(core: CoreEntry, values: readonly bigint[]): CoreEntry {
  const { thread_info, thread_core } = core;
  const registers = Object.fromEntries(REGISTERS.map((name, i) => [name, values[i] ?? 0n]));
  const [clear_tid_addr = 0n, futex_rla = 0n] = values.slice(REGISTERS.length);
  return {
    ...core,
    thread_info: thread_info && { ...thread_info, clear_tid_addr, gpregs: { ...thread_info.gpregs, ...registers } },
    thread_core: thread_core && { ...thread_core, futex_rla },
  };
}

test('a message gets other numbers, again and again, as the codec would encode it', () => {
  const complete = arbitraryMessage(CoreEntry).filter(
    ({ thread_info, thread_core }) => thread_info !== undefined && thread_core !== undefined,
  );
  fc.assert(
    fc.property(complete, fc.array(words, { maxLength: 5 }), (core, lists) => {
      const patches = new NumberPatches(CoreEntry, encode(CoreEntry, core), PATHS);
      expect(patches.message).toEqual(encode(CoreEntry, core));
      for (const values of lists) {
        expect(patches.trySet(halves(values))).toBe(true);
        expect(patches.message).toEqual(encode(CoreEntry, changed(core, values)));
      }
    }),
    { numRuns: 60 },
  );
});

test('a field that is not there can only be 0', () => {
  const patches = new NumberPatches(CoreEntry, encode(CoreEntry, { mtype: 1 }), PATHS);
  expect(patches.trySet(new Uint32Array(2 * PATHS.length))).toBe(true);
  expect(patches.trySet(halves(PATHS.map(() => 1n)))).toBe(false);
});
