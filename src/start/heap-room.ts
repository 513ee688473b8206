/**
 * Where a process from the start image finds memory for new objects. Room that is free between objects which stay lies in
 * hundreds of pages of the image, each of which has to be copied when it is written, and dead strings in it are taken apart
 * first. So none is left: what a run allocates comes from memory that is empty still, in one piece, and so in huge pages.
 */
import { assert } from '../base/errors.ts';
import { addressOf } from '../linux/kernel.ts';

/** What the runtime's collector asks the allocator for (MarkedBlock.h in WebKit). */
const BLOCK_BYTES = 16 << 10;
/** More than any hole between allocations: it is put behind all of them. */
const BEHIND_BYTES = 64 << 20;
/** A GiB of holes. */
const BLOCKS_MAX = 1 << 16;

/** They are never used, but for their addresses. */
const plugs: Uint8Array[] = [];

/**
 * Takes all holes between what is allocated, without touching them. Returns an address in memory that nobody has used
 * before, and from which the next blocks come. Throws RangeError when there is no memory.
 */
export function plugHoles(): number {
  // What it has freed itself is a hole, too.
  Bun.gc(true);
  const behind = Buffer.allocUnsafeSlow(BEHIND_BYTES);
  plugs.push(behind);
  const end = addressOf(behind);
  let at = 0;
  for (let i = 0; at < end && i < BLOCKS_MAX; i++) {
    const plug = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    plugs.push(plug);
    at = addressOf(plug);
  }
  renewNumberTexts();
  // These count as memory to be collected: from here on there is as much until the next collection as after a start.
  Bun.gc(true);
  return at;
}

/** Those below are remembered in another way. */
const FIRST_NUMBER = 1_000_000;
/** Enough for each of the 1,024 places that the runtime has for texts of integers, and as many for other numbers. */
const NUMBERS = 20_000;

/**
 * The texts of numbers that the runtime remembers (NumericStrings.h in WebKit) lie everywhere, and each one that another takes
 * the place of is freed, which writes to its page. So they are replaced, by texts in a row.
 */
function renewNumberTexts(): void {
  let length = 0;
  for (let number = FIRST_NUMBER; number < FIRST_NUMBER + NUMBERS; number++) {
    length += String(number).length + String(number + 0.5).length;
  }
  assert(length > 0, 'numbers have texts');
}
