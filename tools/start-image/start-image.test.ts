import { describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Program } from '../../src/agent/program.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { CODE_AT, DATA_AT, HOT_PAGES_WORDS } from '../../src/start/layout.ts';
import { readCpuNeeds } from './cpu-needs.ts';
import { readExecutable } from './elf.ts';
import { withLauncher } from './executable.ts';
import { commonRanges } from './hot-pages.ts';
import { launcherPage, PROGRAM_AT } from './launcher.ts';

const PAGE = 4096;
const NOTHING = new Uint8Array(0);
const START = { entry: 0x1a4_0d00, headers: 0x20_0040, headerCount: 9 };
const objdump = Bun.which('objdump');

/** Instructions of the launcher as objdump decodes them, up to its last one. */
function disassemble(mode: 'record' | 'image'): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'criu-launcher-'));
  try {
    const file = join(folder, 'code');
    const needs = mode === 'image' ? readCpuNeeds() : [];
    writeFileSync(file, launcherPage({ ...START, mode, needs, resume: NOTHING }).subarray(0, 0x800));
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

  test('tells the linker the entry and the program headers that the executable had', () => {
    const lines = disassemble('image');
    expect(lines).toContain(`mov ecx,0x${START.entry.toString(16)}`);
    expect(lines).toContain(`mov ecx,0x${START.headers.toString(16)}`);
  });
});

test('what the CPU must have is not more than it has, and has AVX2 where it has that', () => {
  const flags = readFileSync('/proc/cpuinfo', 'latin1');
  const [, seven] = readCpuNeeds();
  expect(((seven?.ebx ?? 0) & (1 << 5)) !== 0).toBe(/^flags.*\bavx2\b/m.test(flags));
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

  test('has its programs one behind the other, and says where those of commands are', () => {
    const [start, hot] = [new Program(), new Program()];
    start.call(SYS.getpid);
    hot.call(SYS.getppid);
    const plan = { mode: 'image', needs: [], resume: NOTHING } as const;
    const file = withLauncher(original, plan, { start, hotPages: { restore: hot } });
    const dataAt = PAGE + PAGE;
    const word = (address: number) => Number(new DataView(file.buffer).getBigUint64(dataAt + address - DATA_AT, true));
    expect(word(HOT_PAGES_WORDS.dump)).toBe(0);
    expect(word(HOT_PAGES_WORDS.restore)).toBe(PROGRAM_AT + start.byteLength);
    const at = dataAt + PROGRAM_AT - DATA_AT;
    expect(file.subarray(at, at + start.byteLength)).toEqual(start.assemble(PROGRAM_AT));
  });

  test('is refused when it is no program at fixed addresses', () => {
    const relocatable = elfFile();
    relocatable[16] = 3;
    expect(() => readExecutable(new DataView(relocatable.buffer))).toThrow('not relocatable');
  });
});

test('pages that all programs write become ranges', () => {
  const [a, b] = [new Set([0x5000, 0x1000, 0x2000, 0x9000]), new Set([0x2000, 0x1000, 0x9000, 0xa000])];
  expect(commonRanges([a, b])).toEqual([
    { address: 0x1000, bytes: 0x2000 },
    { address: 0x9000, bytes: 0x1000 },
  ]);
  expect(commonRanges([])).toEqual([]);
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
