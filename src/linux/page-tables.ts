/**
 * The page tables of tasks as the processor has them, copied by a BPF program: one table of 512 words for each 2 MiB of
 * addresses. That takes a thirtieth of the time of /proc/PID/pagemap, for which the kernel looks at each page behind them
 * (fs/proc/task_mmu.c). The words tell no more than which page frames are the same.
 *
 * The tasks must stand still. The kernel may move a page meanwhile, as it may between two reads of pagemap; a table that it
 * gives back then has what was there before, or what makes no sense. For x86-64 (arch/x86/include/asm/pgtable_types.h).
 */
import { perRun } from '../base/per-run.ts';
import { BPF_F_MMAPABLE, BPF_FUNC_probe_read_kernel } from './abi/bpf.ts';
import { O_RDONLY } from './abi/fcntl.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from './abi/mman.ts';
import { BpfProgram } from './bpf-assembler.ts';
import { keepFrames } from './frame-words.ts';
import { memoryAt } from './kernel.ts';
import { tryCreateArray, tryExecuteProgram, tryLoadOwnProgram } from './syscalls/bpf-program.ts';
import { close, open, pread } from './syscalls/fs.ts';
import { mmap, munmap } from './syscalls/mm.ts';
import { getpid } from './syscalls/process.ts';
import { tryReadTaskMappings } from './task-mappings.ts';

/** How many tables are copied at once. */
export const TABLES_MAX = 32;
/** What a table says of so many bytes. */
export const TABLE_SPAN = 2 << 20;
const PAGE_BYTES = 4096;
const TABLE_BYTES = PAGE_BYTES;
const TABLE_WORDS = TABLE_BYTES / 8;
export const TABLE_HALVES = TABLE_BYTES / 4;

/** What is asked and answered, in columns of words: see `ask`. Answers: the entry that leads to the table, 0 or −errno. */
const COLUMN_BYTES = TABLES_MAX * 8;
const COLUMN = {
  topTable: 0,
  address: COLUMN_BYTES,
  direct: 2 * COLUMN_BYTES,
  entry: 3 * COLUMN_BYTES,
  error: 4 * COLUMN_BYTES,
} as const;
const TABLES_AT = 4096;
const VALUE_BYTES = TABLES_AT + TABLES_MAX * TABLE_BYTES;

/* Bits of an entry. In one that does not allow any access (PAGE_NONE) the kernel keeps the frame inverted. */
const PRESENT = 0x001;
const NO_ACCESS = 0x100;
const WRITABLE = 0x002;
const HUGE = 0x080;
/** In the upper half of the only word of a table that stands for a huge page. */
export const HUGE_MARK = 0x8000_0000;
const FRAME_MASK = 0x000f_ffff_ffff_f000n;
const FRAME_HIGH = 0x000f_ffff;
/** A page that may be written belongs to one task alone. */
const FORMAT = { there: BigInt(PRESENT | NO_ACCESS), own: BigInt(WRITABLE), frame: FRAME_MASK };
/** By which bits of an address a table is found, from the top one on: with four levels, and with five. */
const LEVELS: readonly (readonly number[])[] = [
  [39, 30, 21],
  [48, 39, 30, 21],
];
/** All memory is mapped to the kernel at a multiple of this (arch/x86/mm/kaslr.c). It has at most so many of them. */
const STEP = 1n << 30n;
const STEPS_MAX = 16 * 1024;

/** Undefined where it is not allowed, or page tables look different. To find that out takes a millisecond. */
export const pageTables = perRun(
  () => PageTables.tryOpen(),
  (tables) => tables?.[Symbol.dispose](),
);

export class PageTables {
  readonly #program: number;
  readonly #map: number;
  readonly #address: number;
  readonly #words: BigUint64Array;
  readonly #halves: Uint32Array;
  /** All tables, one after the other, as `run` has filled them. */
  readonly tables: Uint32Array;
  #direct = 0n;

  private constructor(program: number, map: number) {
    this.#program = program;
    this.#map = map;
    this.#address = mmap(0, VALUE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    const { buffer } = memoryAt(this.#address, VALUE_BYTES);
    this.#words = new BigUint64Array(buffer, 0, TABLES_AT / 8);
    this.#halves = new Uint32Array(buffer, 0, TABLES_AT / 4);
    this.tables = new Uint32Array(buffer, TABLES_AT);
  }

  static tryOpen(): PageTables | undefined {
    const topTable = tryReadTaskMappings(getpid())?.topTable;
    if (topTable === undefined) return undefined;
    const map = tryCreateArray(1, VALUE_BYTES, BPF_F_MMAPABLE);
    if (map < 0) return undefined;
    for (const levels of LEVELS) {
      const program = tryLoadOwnProgram(copyCode(map, levels));
      if (program < 0) break;
      const tables = new PageTables(program, map);
      if (tables.#find(topTable)) return tables;
      munmap(tables.#address, VALUE_BYTES);
      close(program);
    }
    close(map);
    return undefined;
  }

  [Symbol.dispose](): void {
    munmap(this.#address, VALUE_BYTES);
    close(this.#program);
    close(this.#map);
  }

  /** Table `index`, below TABLES_MAX, is to be that of an address. `topTable`: of the task, see task-mappings.ts. */
  ask(index: number, topTable: bigint, address: number): void {
    const at = index * 2;
    this.#words[COLUMN.topTable / 8 + index] = topTable;
    this.#words[COLUMN.direct / 8 + index] = this.#direct;
    this.#halves[COLUMN.address / 4 + at] = address;
    this.#halves[COLUMN.address / 4 + at + 1] = address / 2 ** 32;
  }

  /**
   * Copies the first `count` tables. Afterwards they have the frames of pages that other tasks may have too, and zeros for
   * others; of a huge page only the first one, with HUGE_MARK.
   */
  run(count: number): void {
    this.#copy(count);
    keepFrames(this.tables, count * TABLE_WORDS, FORMAT);
    const halves = this.#halves;
    for (let at = COLUMN.entry / 4, table = 0; at < COLUMN.entry / 4 + 2 * count; at += 2, table += TABLE_HALVES) {
      const low = halves[at] ?? 0;
      if ((low & HUGE) === 0 || (low & WRITABLE) !== 0 || (low & (PRESENT | NO_ACCESS)) === 0) continue;
      this.tables[table] = low & -PAGE_BYTES;
      this.tables[table + 1] = ((halves[at + 1] ?? 0) & FRAME_HIGH) | HUGE_MARK;
    }
  }

  #copy(count: number): void {
    this.#words.fill(0n, COLUMN.topTable / 8 + count, COLUMN.topTable / 8 + TABLES_MAX);
    if (tryExecuteProgram(this.#program) === 0) return;
    this.tables.fill(0);
    this.#words.fill(0n, COLUMN.entry / 8);
  }

  /** Finds where memory is mapped to the kernel: from there our own tables lead to the frames that pagemap shows of us. */
  #find(topTable: bigint): boolean {
    const example = mmap(0, EXAMPLE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    try {
      memoryAt(example, EXAMPLE_BYTES).fill(1);
      const frames = ownFrames(example);
      if (frames === undefined) return false;
      // Where the top one of these tables is.
      const first = (topTable / STEP) * STEP;
      for (let step = 0; step < STEPS_MAX; step += TABLES_MAX) {
        const placeOf = (i: number) => first - BigInt(step + i) * STEP;
        for (let i = 0; i < TABLES_MAX; i++) {
          this.#direct = placeOf(i);
          this.ask(i, topTable, example);
        }
        this.#copy(TABLES_MAX);
        const found = Array.from({ length: TABLES_MAX }, (_, i) => i).find((i) => this.#has(i, example, frames));
        if (found === undefined) continue;
        this.#direct = placeOf(found);
        return true;
      }
      return false;
    } finally {
      munmap(example, EXAMPLE_BYTES);
    }
  }

  /** Whether a table has these frames at an address. */
  #has(index: number, address: number, frames: BigUint64Array): boolean {
    if (this.#words[COLUMN.error / 8 + index] !== 0n) return false;
    const first = (index * TABLE_BYTES + ((address % TABLE_SPAN) / PAGE_BYTES) * 8) / 4;
    return frames.every((frame, i) => {
      const [low = 0, high = 0] = this.tables.subarray(first + 2 * i);
      return (((BigInt(high) << 32n) | BigInt(low)) & FRAME_MASK) / BigInt(PAGE_BYTES) === frame;
    });
  }
}

/** Puts all frames into a table that stands for a huge page. */
export function expandHuge(table: Uint32Array): void {
  const [low = 0, high = 0] = table;
  for (let at = 0; at < TABLE_HALVES; at += 2) {
    // A huge page is aligned.
    table[at] = low + (at / 2) * PAGE_BYTES;
    table[at + 1] = high & ~HUGE_MARK;
  }
}

/** Pages of ours that are looked for. */
const EXAMPLE_PAGES = 16;
const EXAMPLE_BYTES = EXAMPLE_PAGES * PAGE_BYTES;

/** The frames of these pages; undefined when we may not know them. */
function ownFrames(address: number): BigUint64Array | undefined {
  const fd = open('/proc/self/pagemap', O_RDONLY);
  try {
    const words = new BigUint64Array(EXAMPLE_PAGES);
    pread(fd, new Uint8Array(words.buffer), (address / PAGE_BYTES) * 8);
    const frames = words.map((word) => word & ((1n << 55n) - 1n));
    return frames.includes(0n) ? undefined : frames;
  } finally {
    close(fd);
  }
}

/**
 * Goes through all requests: `levels` lead to the table of each. What can't be read is 0, and at 0 nothing can be read. There
 * is no jump in it, for the kernel tries each way through a program before it is loaded.
 */
function copyCode(map: number, levels: readonly number[]): Uint8Array {
  const p = new BpfProgram();
  const [r0, r1, r2, r3, r6, r7, r8, r9] = [0, 1, 2, 3, 6, 7, 8, 9];
  const word = -8;
  p.findFirstValue(map, word);
  p.move(r6, r0);
  p.repeat(r7, TABLES_MAX, () => {
    p.move(r9, r7);
    p.shiftLeft(r9, 3);
    p.addRegister(r9, r6);
    p.load(r8, r9, COLUMN.topTable);
    for (const shift of levels) {
      p.load(r1, r9, COLUMN.address);
      p.shiftRight(r1, shift);
      p.and(r1, TABLE_BYTES / 8 - 1);
      p.shiftLeft(r1, 3);
      p.addRegister(r8, r1);
      p.stackAddress(r1, word);
      p.set(r2, 8);
      p.move(r3, r8);
      p.call(BPF_FUNC_probe_read_kernel);
      p.loadStack(r8, word);
      p.move(r3, r8);
      // Only FRAME_MASK.
      p.shiftLeft(r8, 12);
      p.shiftRight(r8, 24);
      p.shiftLeft(r8, 12);
      p.load(r1, r9, COLUMN.direct);
      p.addRegister(r8, r1);
      // 0 unless it is PRESENT and not HUGE.
      p.move(r1, r3);
      p.and(r1, PRESENT);
      p.multiply(r8, r1);
      p.move(r1, r3);
      p.shiftRight(r1, Math.log2(HUGE));
      p.and(r1, 1);
      p.xor(r1, 1);
      p.multiply(r8, r1);
    }
    p.store(r9, COLUMN.entry, r3);
    p.move(r1, r7);
    p.shiftLeft(r1, Math.log2(TABLE_BYTES));
    p.add(r1, TABLES_AT);
    p.addRegister(r1, r6);
    p.set(r2, TABLE_BYTES);
    p.move(r3, r8);
    p.call(BPF_FUNC_probe_read_kernel);
    p.store(r9, COLUMN.error, r0);
  });
  return p.finish();
}
