import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { encode } from '../../../image/codec.ts';
import { FdTypes, FileEntry } from '../../../image/gen/fdinfo.ts';
import type { RegFileEntry } from '../../../image/gen/regfile.ts';
import { PlainFiles } from '../../../image/plain-files.ts';
import { O_CLOEXEC, O_PATH, O_RDWR } from '../../../linux/abi/fcntl.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { RestoreContext, RestoreHome } from '../file-kind.ts';
import { createPlainFiles, createRegularFile, plainSource } from './create-files.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

const regular = (id: number, flags: number, pos: bigint): RegFileEntry => ({
  id,
  flags,
  pos,
  fown,
  name: `/files/${id % 7}`,
  build_id: [],
});

function rowsOf(regs: readonly RegFileEntry[]): PlainFiles {
  const entries = regs.map((reg) => encode(FileEntry, { type: FdTypes.REG, id: reg.id, reg }));
  const files = new PlainFiles(Buffer.concat(entries));
  let at = 0;
  for (const { length } of entries) {
    expect(files.tryAdd(at, at + length)).toBeTrue();
    at += length;
  }
  return files;
}

const contextOf = () =>
  ({
    options: { inheritFds: [] },
    state: () => new Map(),
    pathOf: (id: number) => ({ text: `/files/${id % 7}` }),
  }) as unknown as RestoreContext;

test('many plain files get the steps that each of them would get alone', () => {
  const flags = fc.constantFrom(O_RDWR, O_PATH, 0);
  const pos = fc.constantFrom(0n, 1n, 2n ** 40n + 7n);
  fc.assert(
    fc.property(fc.array(fc.tuple(flags, pos, fc.boolean()), { minLength: 1, maxLength: 70 }), (list) => {
      const regs = list.map(([flags, pos], i) => regular(i, flags, pos));
      const source = plainSource(rowsOf(regs));
      list.forEach(([, , isCloexec], i) => {
        source.isCloexec[i] = isCloexec ? 1 : 0;
      });
      const many = new FdTablePlan(100);
      createPlainFiles(
        source,
        regs.map((_, i) => i),
        many,
      );
      const alone = new FdTablePlan(100);
      regs.forEach((reg, i) => {
        const cloexec = source.isCloexec[i] === 1 ? O_CLOEXEC : 0;
        const home = { table: alone, context: contextOf(), cloexec: () => cloexec, made() {} };
        createRegularFile(reg, home as unknown as RestoreHome);
      });
      const steps = alone.take().toSteps();
      const isOpen = ({ expected }: { expected?: number | undefined }) => expected !== undefined;
      // First all files are opened.
      const sorted = [...steps.filter(isOpen), ...steps.filter((step) => !isOpen(step))];
      expect(many.take().toSteps()).toEqual(sorted);
      expect(many.neededLimit).toBe(alone.neededLimit);
    }),
  );
});
