import { expect, test } from 'bun:test';
import fc from 'fast-check';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import { FASYNC, O_CLOEXEC, O_PATH, O_RDWR } from '../../../linux/abi/fcntl.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { NumberedFile, RestoreContext, RestoreHome } from '../file-kind.ts';
import { createPlainFiles, createRegularFile, plainFiles } from './create-files.ts';

const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };

function regular(id: number, flags: number, pos: bigint): FileEntry {
  return { type: FdTypes.REG, id, reg: { id, flags, pos, fown, name: `/files/${id}`, build_id: [] } };
}

const contextOf = (remaps: [number, unknown][] = []) =>
  ({
    options: { inheritFds: [] },
    state: () => new Map(remaps),
    pathOf: (id: number) => ({ text: `/files/${id}` }),
  }) as unknown as RestoreContext;

test('many plain files get the steps that each of them would get alone', () => {
  const flags = fc.constantFrom(O_RDWR, O_PATH, O_RDWR | FASYNC, 0);
  const pos = fc.constantFrom(0n, 1n, 2n ** 40n + 7n, 0xffff_ffff_ffff_ffffn);
  fc.assert(
    fc.property(fc.array(fc.tuple(flags, pos, fc.boolean()), { minLength: 1, maxLength: 70 }), (list) => {
      const files: NumberedFile[] = list.map(([flags, pos, isCloexec], i) => ({
        entry: regular(i, flags, pos),
        slots: [{ fd: i, isCloexec }],
      }));
      const many = new FdTablePlan(100);
      createPlainFiles(files, many);
      const alone = new FdTablePlan(100);
      for (const { entry, slots } of files) {
        const cloexec = slots[0]?.isCloexec === true ? O_CLOEXEC : 0;
        const home = { table: alone, context: contextOf(), cloexec: () => cloexec, made() {} };
        if (entry.reg !== undefined) createRegularFile(entry.reg, home as unknown as RestoreHome);
      }
      const steps = alone.take().toSteps();
      const isOpen = ({ expected }: { expected?: number | undefined }) => expected !== undefined;
      // First all files are opened.
      const sorted = [...steps.filter(isOpen), ...steps.filter((step) => !isOpen(step))];
      expect(many.take().toSteps()).toEqual(sorted);
      expect(many.neededLimit).toBe(alone.neededLimit);
    }),
  );
});

test('what is not opened by its own path is not plain, nor what has a position that numbers cannot hold', () => {
  expect(plainFiles(contextOf())(regular(1, O_RDWR, 5n))).toBe(true);
  expect(plainFiles(contextOf())(regular(1, O_RDWR, 2n ** 60n))).toBe(false);
  expect(plainFiles(contextOf([[1, { kind: 'ghost', ghostId: 2 }]]))(regular(1, O_RDWR, 5n))).toBe(false);
  const external = regular(1, O_RDWR, 5n);
  if (external.reg !== undefined) external.reg.ext = true;
  expect(plainFiles(contextOf())(external)).toBe(false);
});
