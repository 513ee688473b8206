/**
 * Where a process from the start image finds memory for new objects. Room that is free between objects which stay lies in
 * hundreds of pages of the image, each of which has to be copied when it is written, and dead strings in it are taken apart
 * first. So none is left: what a run allocates comes from memory that is empty still, in one piece, and so in huge pages.
 */
import { PAGE_BYTES } from '../image/pagemap.ts';
import { MADV_DONTNEED } from '../linux/abi/mman.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { addressOf, check, syscall } from '../linux/kernel.ts';
import { HUGE_PAGE_BYTES } from './layout.ts';
import { renewFractionTexts, renewIntegerTexts } from './number-texts.ts';

/** What the runtime's collector asks the allocator for (MarkedBlock.h in WebKit). */
const BLOCK_BYTES = 16 << 10;
/** More than any hole between allocations: it is put behind all of them. */
const BEHIND_BYTES = 64 << 20;
/** A GiB of holes. */
const BLOCKS_MAX = 1 << 16;

/** They are never used, but for their addresses. */
const plugs: Uint8Array[] = [];

/**
 * Takes all holes between what is allocated, without touching the big ones. Returns an address in memory that nobody has used
 * before, and from which the next blocks come. Throws RangeError when there is no memory.
 */
export function plugHoles(): number {
  // What it has freed itself is a hole, too.
  Bun.gc(true);
  const at = plugBlocks();
  plugSmallHoles();
  renewFractionTexts();
  // These count as memory to be collected: from here on there is as much until the next collection as after a start.
  Bun.gc(true);
  return at;
}

/** The biggest of those that many of are allocated. */
const SMALL_BYTES_MAX = 4096;
/** So much in a row lies in no hole. */
const ROW_BYTES = 32 << 10;
/** For each size. */
const SMALL_PLUGS_MAX = 20_000;

/** The same for what is allocated in other sizes, as strings are. */
function plugSmallHoles(): void {
  for (let bytes = 16; bytes <= SMALL_BYTES_MAX; bytes += stepBehind(bytes)) {
    let [last, row] = [0, 0];
    for (let i = 0; i < SMALL_PLUGS_MAX && row < ROW_BYTES; i++) {
      const buffer = new Uint8Array(new ArrayBuffer(bytes));
      plugs.push(buffer);
      const at = addressOf(buffer);
      // Buffers have objects of their own, some of the same size.
      row = at > last && at < last + 4 * bytes ? row + bytes : 0;
      last = at;
    }
  }
}

/** To the next size that the allocator has: four for each power of two, from 16 bytes on. */
const stepBehind = (bytes: number) => Math.max(16, 1 << (29 - Math.clz32(bytes)));

/**
 * The last thing before the image is taken: blocks come from behind everything from here on, and begin where a huge page can
 * be. Throws RangeError when there is no memory.
 */
export function finishHeap(): void {
  renewIntegerTexts();
  let at = plugBlocks();
  for (let i = 0; at % HUGE_PAGE_BYTES !== 0 && i < HUGE_PAGE_BYTES / BLOCK_BYTES; i++)
    at = addressOf(plug(BLOCK_BYTES));
}

/** Returns the address of the last block, behind all holes. */
function plugBlocks(): number {
  const behind = addressOf(plug(BEHIND_BYTES));
  let at = 0;
  for (let i = 0; at < behind && i < BLOCKS_MAX; i++) at = addressOf(plug(BLOCK_BYTES));
  return at;
}

function plug(bytes: number): Uint8Array {
  const memory = Buffer.allocUnsafeSlow(bytes);
  plugs.push(memory);
  // What the allocator has written there, or somebody before, does not have to be in the image: it would be 60 MB longer.
  if (addressOf(memory) % PAGE_BYTES === 0) check('madvise', syscall(SYS.madvise, memory, bytes, MADV_DONTNEED));
  return memory;
}
