/**
 * The texts of numbers that the runtime remembers (NumericStrings.h in WebKit). They lie everywhere, and each one that another
 * takes the place of is freed, which writes to its page: a restore of 200 TCP connections did so in 80 pages. So they are
 * replaced by texts in a row.
 */
import { assert } from '../base/errors.ts';

/** Numbers below are remembered in another way. */
const FIRST = 1_000_000;
/** Enough for each of the places for texts of numbers that are not integers. */
const FRACTIONS = 20_000;
/** Places for texts of integers. */
const PLACES = 1024;

/** As soon as what is allocated lies in no holes. */
export function renewFractionTexts(): void {
  let length = 0;
  for (let i = 0; i < FRACTIONS; i++) length += String(FIRST + i + 0.5).length;
  assert(length > 0, 'numbers have texts');
}

/** When there will be no other texts before the image is taken. */
export function renewIntegerTexts(): void {
  let length = 0;
  for (const integer of ONE_FOR_EACH_PLACE) length += String(integer).length;
  assert(length > 0, 'integers have texts');
}

/** By place. It is found when the code is loaded: later, what that leaves behind would lie between the texts. */
const ONE_FOR_EACH_PLACE = chooseIntegers();

function chooseIntegers(): Uint32Array {
  const integers = new Uint32Array(PLACES);
  for (let [integer, left] = [FIRST, PLACES]; left > 0; integer++) {
    const place = placeOfText(integer);
    if (integers[place] !== 0) continue;
    integers[place] = integer;
    left--;
  }
  return integers;
}

/** Where the runtime remembers the text of an integer (WTF::IntHash: wyhash of 64 bits). */
export function placeOfText(integer: number): number {
  const product = (BigInt(integer) ^ 0x2d35_8dcc_aa6c_78a5n) * (BigInt(integer) ^ 0x8bb8_4b93_962e_acc9n);
  return Number((product ^ (product >> 64n)) & BigInt(PLACES - 1));
}
