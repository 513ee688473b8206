/** What the recorded image set says of itself: its paths are part of the images. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The executable, and the images of its two processes. */
export const PROGRAM = join(import.meta.dir, 'pair.bin');
export const IMAGES = join(import.meta.dir, 'pair');
/** Pid of the parent. */
export const PID = 31_990;
/** Where the program was when it was dumped, and has to be again. */
export const FOLDER = '/tmp/criu-image-set';
export const COUNT = join(FOLDER, 'count');

/** The number of rounds that had been counted when the images were made. */
export const counted = (): number => Number(readFileSync(join(import.meta.dir, 'counted'), 'latin1'));

/** Waits until there are so many numbers, and gives them. */
export async function waitForCounts(wanted: number): Promise<number[]> {
  for (let tries = 0; tries < 500; tries++) {
    const text = existsSync(COUNT) ? readFileSync(COUNT, 'latin1') : '';
    const numbers = text.split('\n').slice(0, -1).map(Number);
    if (numbers.length >= wanted) return numbers;
    await Bun.sleep(20);
  }
  throw new Error(`the program does not count: waited for ${wanted} lines in ${COUNT}`);
}
