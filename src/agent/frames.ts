/**
 * Ops whose addresses all lie in one piece of data, a frame. Things that are made alike by the thousand have the same ops
 * but for some numbers in that data: so each is a copy of words and bytes, and neither ops nor addresses are objects.
 */
import { TWO_32 } from '../base/bytes.ts';
import { OP_WORDS } from './ops.ts';
import type { Place } from './program.ts';

export interface Frame {
  /** The words of its ops that are addresses, counted from its first op; ascending. */
  readonly addressesAt: readonly number[];
  /** The byte of the data that each of them is the address of. */
  readonly dataAt: readonly number[];
}

interface PlacedFrame {
  readonly op: number;
  readonly frame: Frame;
  readonly data: Place;
}

/** The frames of a program. */
export class Frames {
  readonly #placed: PlacedFrame[];

  constructor(placed: readonly PlacedFrame[] = []) {
    this.#placed = [...placed];
  }

  copy(): Frames {
    return new Frames(this.#placed);
  }

  /** The ops of the frame begin at number `op`, its data is at `data`. */
  add(op: number, frame: Frame, data: Place): void {
    this.#placed.push({ op, frame, data });
  }

  /** Writes their addresses into the words of all ops. `addressOf`: where a place will be in the task. */
  write(words: Uint32Array, addressOf: (data: Place) => number, relocations: number[] | undefined): void {
    for (const { op, frame, data } of this.#placed) {
      const base = addressOf(data);
      const { addressesAt, dataAt } = frame;
      for (let i = 0; i < addressesAt.length; i++) {
        const at = op * OP_WORDS + (addressesAt[i] ?? 0);
        const address = base + (dataAt[i] ?? 0);
        words[at] = address;
        words[at + 1] = address / TWO_32;
        relocations?.push(at * 4);
      }
    }
  }
}
