import { expect, test } from 'bun:test';
import { ABI_32, ABI_32_3GB, ABI_64 } from '../agent/abi.ts';
import { UserX86RegsMode } from '../image/gen/core-x86.ts';
import type { MmEntry } from '../image/gen/mm.ts';
import { ADDR_LIMIT_3GB, PER_LINUX32 } from '../linux/abi/personality.ts';
import type { RestoreThread } from './restore-tree.ts';
import { abiOfTask } from './task-abi.ts';

const thread = (mode: UserX86RegsMode, personality: number) =>
  ({ tid: 1, core: { thread_info: { gpregs: { mode } }, tc: { personality } } }) as unknown as RestoreThread;
const mm = (...ends: number[]) => ({ vmas: ends.map((end) => ({ start: end - 4096, end })) }) as unknown as MmEntry;
const VSYSCALL_END = 0xffff_ffff_ff60_1000;
const abiOf = (mode: UserX86RegsMode, personality: number, ...ends: number[]) =>
  abiOfTask([thread(mode, personality)], mm(...ends), 'task 1');

test('the kind of a task follows from its registers', () => {
  expect(abiOf(UserX86RegsMode.NATIVE, ADDR_LIMIT_3GB, 0x7fff_ffff_f000)).toBe(ABI_64);
  expect(abiOf(UserX86RegsMode.COMPAT, PER_LINUX32, 0xffff_d000)).toBe(ABI_32);
});

test('a limit of 3 GiB counts when the program was executed with it', () => {
  expect(abiOf(UserX86RegsMode.COMPAT, ADDR_LIMIT_3GB, 0xbfff_d000, VSYSCALL_END)).toBe(ABI_32_3GB);
  expect(abiOf(UserX86RegsMode.COMPAT, ADDR_LIMIT_3GB, 0xbfff_d000, 0xffff_d000)).toBe(ABI_32);
});
