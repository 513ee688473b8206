import { describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KIND, OP_ARGS, OP_BYTES } from '../../src/agent/agent-code.ts';
import { Program } from '../../src/agent/program.ts';
import { MADV_HUGEPAGE, MADV_POPULATE_READ, MADV_POPULATE_WRITE } from '../../src/linux/abi/mman.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { CODE_AT, DATA_AT, HUGE_PAGE_BYTES } from '../../src/start/layout.ts';
import { readCpuNeeds } from './cpu-needs.ts';
import { readExecutable } from './elf.ts';
import { withLauncher } from './executable.ts';
import { hotPages, rangesIn } from './hot-pages.ts';
import { launcherPage, PROGRAM_AT } from './launcher.ts';
import { dearHugePages, hugeRoom, planDearPages, planHotPages } from './plan-start.ts';

const PAGE = 4096;
const NOTHING = new Uint8Array(0);
const START = { entry: 0x1a4_0d00, headers: 0x20_0040, headerCount: 9 };
const objdump = Bun.which('objdump');

const SELF = { actions: [], altStack: [], robustList: [], tidAddress: '0' };
const CHOICE = { command: 'dump', at: 0x1234, value: 0x5678, dearValue: 0x9abc };

/** Instructions of the launcher as objdump decodes them, up to its last one. */
function disassemble(mode: 'record' | 'image'): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'criu-launcher-'));
  try {
    const file = join(folder, 'code');
    const needs = mode === 'image' ? readCpuNeeds() : [];
    const choices = mode === 'image' ? [CHOICE] : [];
    writeFileSync(file, launcherPage({ ...START, mode, needs, choices, resume: NOTHING }).subarray(0, 0x800));
    const args = ['-D', '-b', 'binary', '-m', 'i386:x86-64', '-M', 'intel', '--no-show-raw-insn', file];
    const lines = Bun.spawnSync([objdump ?? 'objdump', ...args])
      .stdout.toString()
      .split('\n');
    const all = lines.flatMap((line) => /^\s*[0-9a-f]+:\s+(.*)$/.exec(line)?.[1]?.replace(/\s+/g, ' ').trim() ?? []);
    return all.slice(0, all.lastIndexOf('syscall') + 1);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe.skipIf(objdump === null)('the launcher, decoded by objdump (skipped where binutils are missing)', () => {
  test('has only instructions that exist, and goes to the linker with the stack as the kernel made it', () => {
    for (const mode of ['record', 'image'] as const) {
      const lines = disassemble(mode);
      expect(lines.filter((line) => line.includes('(bad)'))).toEqual([]);
      expect(lines[0]).toBe('mov rbp,rsp');
      const at = lines.indexOf('jmp r14');
      expect(lines.slice(at - 2, at)).toEqual(['mov rsp,rbp', 'mov edx,0x0']);
    }
  });

  test('asks the CPU only when there is an image', () => {
    expect(disassemble('record').filter((line) => line === 'cpuid')).toHaveLength(0);
    expect(disassemble('image').filter((line) => line === 'cpuid')).toHaveLength(readCpuNeeds().length);
  });

  test('times two page faults, and takes the other program only when both are dear', () => {
    const lines = disassemble('image');
    expect(lines.filter((line) => line === `mov eax,0x${SYS.clock_gettime.toString(16)}`)).toHaveLength(4);
    expect(lines.filter((line) => line === 'or QWORD PTR [rbx],0x0')).toHaveLength(2);
    expect(lines).toContain(`mov eax,0x${SYS.process_madvise.toString(16)}`);
    const dear = lines.indexOf('mov ecx,0x9abc');
    expect(lines.slice(dear - 3, dear - 1)).toEqual(['mov ecx,0x5678', 'test r12,r12']);
    expect(lines[dear - 1]).toMatch(/^je /);
    expect(disassemble('record')).not.toContain('or QWORD PTR [rbx],0x0');
  });

  test('tells the linker the entry and the program headers that the executable had', () => {
    const lines = disassemble('image');
    expect(lines).toContain(`mov ecx,0x${START.entry.toString(16)}`);
    expect(lines).toContain(`mov ecx,0x${START.headers.toString(16)}`);
  });
});

test('what the CPU must have is what the kernel tells of it', () => {
  const flags = /^flags\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1]?.split(' ') ?? [];
  const needs = readCpuNeeds();
  const isNeeded = (leaf: number, register: 'ebx' | 'ecx' | 'edx', bit: number) =>
    ((needs.find((of) => of.leaf === leaf)?.[register] ?? 0) & (1 << bit)) !== 0;
  for (const [name, leaf, register, bit] of [
    ['avx', 1, 'ecx', 28],
    ['f16c', 1, 'ecx', 29],
    ['avx2', 7, 'ebx', 5],
    ['rtm', 7, 'ebx', 11],
    ['avx512vl', 7, 'ebx', 31],
    ['gfni', 7, 'ecx', 8],
    ['avx512_fp16', 7, 'edx', 23],
    ['fma4', 0x8000_0001, 'ecx', 16],
  ] as const) {
    expect([name, isNeeded(leaf, register, bit)]).toEqual([name, flags.includes(name)]);
  }
  // A virtual machine has no VMX in it usually, and Intel's has DTES64, which AMD's lacks.
  expect([isNeeded(1, 'ecx', 5), isNeeded(1, 'ecx', 2), isNeeded(1, 'ecx', 31)]).toEqual([false, false, false]);
});

describe('an executable with a launcher', () => {
  const original = elfFile();

  test('starts at the launcher, has its segments in front, no linker, and its old content', () => {
    const file = withLauncher(original, { mode: 'record', needs: [], resume: NOTHING });
    const view = new DataView(file.buffer);
    expect(Number(view.getBigUint64(24, true))).toBe(CODE_AT);
    expect(segmentsOf(file)).toEqual([
      { type: 1, address: CODE_AT, bytes: PAGE },
      { type: 1, address: DATA_AT, bytes: PAGE },
      { type: 1, address: 0x20_0000, bytes: 0x300 },
    ]);
    expect(file.subarray(64, original.length)).toEqual(original.subarray(64));
    expect(file.length % PAGE).toBe(0);
  });

  test('has its programs one behind the other: memory leads to the rest, and by a command to what it needs first', () => {
    const [memory, cheap, dear, rest] = [new Program(), new Program(), new Program(), new Program()];
    memory.call(SYS.getpid);
    cheap.call(SYS.getppid);
    dear.call(SYS.getgid);
    rest.call(SYS.getuid);
    const plan = { mode: 'image', needs: [], resume: NOTHING } as const;
    const file = withLauncher(original, plan, { memory, hotPages: { restore: { cheap, dear } }, rest });
    const view = new DataView(file.buffer, 2 * PAGE + PROGRAM_AT - DATA_AT);
    const op = (index: number) => {
      const at = index * OP_BYTES;
      return { kind: view.getUint8(at + 1), nr: view.getUint32(at + 4, true), first: view.getUint32(at + 8, true) };
    };
    const address = (index: number) => PROGRAM_AT + index * OP_BYTES;
    expect([0, 1, 2, 3, 4, 5, 6].map(op)).toEqual([
      { kind: KIND.syscall, nr: SYS.getpid, first: 0 },
      { kind: KIND.jump, nr: 0, first: address(2) },
      { kind: KIND.syscall, nr: SYS.getuid, first: 0 },
      { kind: KIND.syscall, nr: SYS.getppid, first: 0 },
      { kind: KIND.jump, nr: 0, first: address(2) },
      { kind: KIND.syscall, nr: SYS.getgid, first: 0 },
      { kind: KIND.jump, nr: 0, first: address(2) },
    ]);
    const code = Buffer.from(file.subarray(PAGE, 2 * PAGE));
    // mov ebx, the jump's argument; mov ecx, the program for the command; mov ecx, the one where faults are dear
    const words = Uint8Array.of(0xbb, 0, 0, 0, 0, 0xb9, 0, 0, 0, 0);
    new DataView(words.buffer).setUint32(1, address(1) + OP_ARGS, true);
    new DataView(words.buffer).setUint32(6, address(3), true);
    expect(code.indexOf(words)).toBeGreaterThan(0);
    const dearWord = Uint8Array.of(0xb9, 0, 0, 0, 0);
    new DataView(dearWord.buffer).setUint32(1, address(5), true);
    expect(code.indexOf(dearWord, code.indexOf(words))).toBeGreaterThan(0);
  });

  test('is refused when it is no program at fixed addresses', () => {
    const relocatable = elfFile();
    relocatable[16] = 3;
    expect(() => readExecutable(new DataView(relocatable.buffer))).toThrow('not relocatable');
  });
});

test('pages that are in so many sets become ranges', () => {
  const [a, b] = [new Set([0x5000, 0x1000, 0x2000, 0x9000]), new Set([0x2000, 0x1000, 0x9000, 0xa000])];
  expect(rangesIn([a, b], 2, PAGE)).toEqual([
    { address: 0x1000, bytes: 0x2000 },
    { address: 0x9000, bytes: 0x1000 },
  ]);
  expect(rangesIn([a, b], 1, PAGE).map(({ bytes }) => bytes)).toEqual([0x2000, 0x1000, 0x2000]);
  expect(rangesIn([], 0, PAGE)).toEqual([]);
});

test('a page is hot when all runs for a kind of process touch it, for one kind or for all', () => {
  const run = (...pages: number[]) => ({ written: new Set(pages), read: new Set(pages.map((page) => page << 4)) });
  const kinds = [
    [run(0x1000, 0x3000, 0x7000), run(0x1000, 0x3000)],
    [run(0x1000, 0x5000), run(0x1000, 0x5000)],
    [run(0x1000, 0x3000, 0x7000)],
  ];
  const { always, sometimes } = hotPages(kinds);
  expect(always.written).toEqual([{ address: 0x1000, bytes: PAGE }]);
  expect(sometimes.written.map(({ address }) => address)).toEqual([0x1000, 0x3000, 0x5000, 0x7000]);
  expect(sometimes.read[1]).toEqual({ address: 0x3_0000, bytes: 0x1_0000 });
  expect(hotPages([[run(0x1000)]]).always.written).toEqual([{ address: 0x1000, bytes: PAGE }]);
});

test('a few of them are written to with what they have, and many are asked for', () => {
  const content = new Uint8Array(3 * PAGE);
  content
    .fill(1, 0, PAGE)
    .fill(2, PAGE, 2 * PAGE)
    .fill(3, 2 * PAGE);
  const runs = [
    { address: 0x8000, bytes: PAGE, prot: 3 },
    { address: 0x2000, bytes: 2 * PAGE, prot: 3 },
  ];
  const program = planHotPages({ runs, content }, [
    { address: 0x3000, bytes: PAGE },
    { address: 0x8000, bytes: 2 * PAGE },
    { address: 0x20000, bytes: 3 * PAGE },
  ]);
  const view = new DataView(program.assemble(0).buffer);
  const op = (index: number) => {
    const at = index * OP_BYTES;
    return [view.getUint8(at + 1), ...[0, 1, 2].map((i) => view.getUint32(at + OP_ARGS + 8 * i, true))];
  };
  expect(program.length).toBe(4);
  expect([0, 1, 2, 3].map(op)).toEqual([
    [KIND.store32, 0x3000, 0x0303_0303, 0],
    [KIND.store32, 0x8000, 0x0101_0101, 0],
    [KIND.store32, 0x9000, 0, 0],
    [KIND.syscall, 0x20000, 3 * PAGE, MADV_POPULATE_WRITE],
  ]);
});

test('where faults are dear all are asked for in one go, and then a page of each window that is read', () => {
  const at = 0x10_0000;
  const program = planDearPages(
    {
      written: [
        { address: 0x3000, bytes: PAGE },
        { address: 0x2_0000, bytes: 2 * PAGE },
      ],
      read: [{ address: 0x1_8000, bytes: 0x2_8000 }],
    },
    [],
  );
  const view = new DataView(program.assemble(at).buffer);
  const word = (offset: number) => Number(view.getBigUint64(offset, true));
  const lists = [0, 1].map((op) => {
    const argument = (index: number) => word(op * OP_BYTES + OP_ARGS + 8 * index);
    const [list, length, advice] = [argument(1) - at, argument(2), argument(3)];
    return { advice, ranges: Array.from({ length }, (_, i) => [word(list + 16 * i), word(list + 16 * i + 8)]) };
  });
  expect(program.length).toBe(2);
  expect(lists).toEqual([
    {
      advice: MADV_POPULATE_WRITE,
      ranges: [
        [0x3000, PAGE],
        [0x2_0000, 2 * PAGE],
      ],
    },
    {
      advice: MADV_POPULATE_READ,
      ranges: [
        [0x1_8000, PAGE],
        [0x2_2000, PAGE],
        [0x3_0000, PAGE],
      ],
    },
  ]);
});

test('the heap is in huge pages where it is empty, but not where a small run writes', () => {
  const MIB = 1 << 20;
  const heap = 64 * MIB;
  const area = { start: heap, end: heap + 20 * MIB };
  const runs = [{ address: heap + 3 * MIB, bytes: 2 * MIB, prot: 3 }];
  const room = (at: number | undefined, pages: readonly number[]) =>
    hugeRoom(
      { areas: [area], runs, self: { ...SELF, heap: at } },
      {
        dump: { sometimes: { written: pages.map((address) => ({ address, bytes: PAGE })) } },
      },
    );
  const used = [heap + 3 * MIB, heap + 5 * MIB, heap + 9 * MIB, heap + 10 * MIB - PAGE, heap + 40 * MIB];
  expect(room(heap + 7 * MIB, used)).toEqual([
    { address: heap, bytes: 4 * MIB },
    { address: heap + 6 * MIB, bytes: 2 * MIB },
    { address: heap + 10 * MIB, bytes: 10 * MIB },
  ]);
  expect(room(heap, [heap + 3 * MIB])).toEqual([{ address: heap, bytes: 20 * MIB }]);
  expect(room(heap, [])).toEqual([]);
  expect(room(undefined, used)).toEqual([]);
  expect(room(heap + 20 * MIB, used)).toEqual([]);
});

test('where faults are dear, memory that a command fills is in huge pages as well, and asked for in no other way', () => {
  const at = 4 * HUGE_PAGE_BYTES;
  const piece = (index: number) => at + index * HUGE_PAGE_BYTES;
  const pages = (address: number, count: number) => ({ address, bytes: count * PAGE });
  const heap = {
    areas: [{ start: at, end: piece(6) }],
    runs: [{ address: piece(4), bytes: PAGE, prot: 3 }],
    self: { ...SELF, heap: at },
  };
  const dumped = [pages(piece(0), 16), pages(piece(1), 15), pages(piece(4) + PAGE, 20)];
  const hot = { dump: { sometimes: { written: dumped } }, restore: { sometimes: { written: [pages(piece(2), 1)] } } };
  const huge = (index: number) => ({ address: piece(index), bytes: HUGE_PAGE_BYTES });
  expect(dearHugePages(heap, hot, 'dump')).toEqual([huge(0), huge(2)]);
  expect(dearHugePages(heap, hot, 'restore')).toEqual([huge(0), huge(1)]);
  const program = planDearPages({ written: dumped, read: [] }, [huge(0)]);
  const view = new DataView(program.assemble(at).buffer);
  const word = (offset: number) => Number(view.getBigUint64(offset, true));
  const argument = (op: number, index: number) => word(op * OP_BYTES + OP_ARGS + 8 * index);
  expect([0, 1, 2].map((index) => argument(0, index))).toEqual([piece(0), HUGE_PAGE_BYTES, MADV_HUGEPAGE]);
  const list = argument(1, 1) - at;
  expect([0, 1, 2, 3].map((index) => word(list + 8 * index))).toEqual([
    piece(1),
    15 * PAGE,
    piece(4) + PAGE,
    20 * PAGE,
  ]);
});

/** A header, PT_PHDR, PT_INTERP and one segment. */
function elfFile(): Uint8Array {
  const file = new Uint8Array(0x300);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setBigUint64(24, 0x20_0200n, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 3, true);
  const header = (index: number, type: number, address: number, bytes: number) => {
    const at = 64 + index * 56;
    view.setUint32(at, type, true);
    view.setBigUint64(at + 16, BigInt(address), true);
    view.setBigUint64(at + 40, BigInt(bytes), true);
  };
  header(0, 6, 0x20_0040, 168);
  header(1, 3, 0x20_0100, 28);
  header(2, 1, 0x20_0000, 0x300);
  return file;
}

function segmentsOf(file: Uint8Array) {
  const view = new DataView(file.buffer, file.byteOffset);
  const start = Number(view.getBigUint64(32, true));
  return Array.from({ length: view.getUint16(56, true) }, (_, i) => {
    const at = start + i * 56;
    const [address, bytes] = [view.getBigUint64(at + 16, true), view.getBigUint64(at + 40, true)];
    return { type: view.getUint32(at, true), address: Number(address), bytes: Number(bytes) };
  });
}
