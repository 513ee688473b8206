import { describe, expect, test } from 'bun:test';
import { Program } from '../../agent/program.ts';
import { planSeccomp } from './restore-seccomp.ts';
import { notifiesSupervisor, SeccompFilters, type ThreadSeccomp } from './seccomp.ts';

/** One BPF_RET | BPF_K instruction. */
const code = (action: number) => new Uint8Array(Uint32Array.of(6, action).buffer);
const [A, B] = [
  { code: code(0x7fff0000), flags: 0 },
  { code: code(0), flags: 2 },
];
const filtered = (...filters: (typeof A)[]): ThreadSeccomp => ({ mode: 2, filters });
const NONE: ThreadSeccomp = { mode: 0, filters: [] };

describe('SeccompFilters', () => {
  test('puts the newest filter of a chain first, and names the oldest', () => {
    const filters = new SeccompFilters();
    expect(filters.add([filtered(A, B), NONE])).toEqual([{ seccomp_mode: 2, seccomp_filter: 1 }, {}]);
    expect(filters.entry.seccomp_filters).toEqual([
      { filter: B.code, flags: 2 },
      { filter: A.code, prev: 0, flags: 0 },
    ]);
  });

  test('keeps one chain for threads that share it, to be installed in all', () => {
    const filters = new SeccompFilters();
    expect(filters.add([filtered(A), filtered(A)])).toEqual([{ seccomp_mode: 2, seccomp_filter: 0 }, {}]);
    expect(filters.entry.seccomp_filters).toEqual([{ filter: A.code, flags: 1 }]);
  });

  test('stores equal chains of a tree once', () => {
    const filters = new SeccompFilters();
    filters.add([filtered(A, B)]);
    expect(filters.add([filtered(A, B)])).toEqual([{ seccomp_mode: 2, seccomp_filter: 1 }]);
    expect(filters.entry.seccomp_filters).toHaveLength(2);
  });

  test('tells strict mode', () => {
    expect(new SeccompFilters().add([{ mode: 1, filters: [] }])).toEqual([{ seccomp_mode: 1 }]);
  });
});

test('finds filters that ask a supervisor', () => {
  expect(notifiesSupervisor(code(0x7fc0_0000))).toBe(true);
  expect(notifiesSupervisor(code(0x7fc0_1234))).toBe(true);
  expect(notifiesSupervisor(code(0x7fff_0000))).toBe(false);
  expect(notifiesSupervisor(Uint8Array.of(6, 0, 0))).toBe(false);
});

describe('planSeccomp', () => {
  const refuses = (
    thread: { seccomp_filter?: number },
    filters: { filter: Uint8Array; prev?: number }[],
    how: string,
  ) =>
    expect(() => planSeccomp(new Program(), { seccomp_mode: 2, ...thread }, { seccomp_filters: filters })).toThrow(
      `seccomp.img: ${how}: the images are damaged or do not belong together`,
    );

  test('installs the oldest filter first', () => {
    const program = new Program();
    const seccomp_filters = [{ filter: B.code }, { filter: A.code, prev: 0 }];
    planSeccomp(program, { seccomp_mode: 2, seccomp_filter: 1 }, { seccomp_filters });
    const block = Buffer.from(program.assemble(0));
    expect(block.indexOf(A.code)).toBeLessThan(block.indexOf(B.code));
  });

  test('refuses what does not fit together', () => {
    refuses({ seccomp_filter: 1 }, [{ filter: A.code }], 'has no filter 1 of 1');
    refuses({}, [{ filter: A.code }], 'names no filter for a thread that has some');
    refuses({ seccomp_filter: 0 }, [{ filter: A.code, prev: 0 }], 'has a chain of filters that never ends');
    refuses({ seccomp_filter: 0 }, [{ filter: new Uint8Array(7) }], 'has a filter of 7 bytes');
    refuses({ seccomp_filter: 0 }, [{ filter: new Uint8Array(0) }], 'has a filter of 0 bytes');
  });
});
