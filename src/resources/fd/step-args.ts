/** What a step of a restore (step.ts) has for its arguments. */

/** A number that is known when the steps are added, such as that of a descriptor of the controller. */
export interface LaterNumber {
  readonly later: () => number;
}

/** An argument of a step. */
export type StepArg = number | bigint | StepObject;

/** What becomes an argument when the steps are added. */
export type StepObject =
  | LaterNumber
  | IntArg
  | ImagePart
  /** A NUL-terminated byte string. */
  | { readonly text: string }
  /** Bytes that the task can read and write; addresses of other bytes are put in where `pointers` says. */
  | Pointing
  /** The name under which the controller's descriptor `holder()` can be opened; known when the steps are added. */
  | { readonly path: () => string };

/** Bytes, and the addresses of others in them. */
export interface Pointing {
  readonly bytes: Uint8Array;
  readonly pointers?: readonly Pointer[];
}

/** A structure of the kernel has, at byte `offset`, the address of another one, or of a byte of PAIR_ROOM. */
export type Pointer = { readonly offset: number } & (Pointing | { readonly roomAt: number });

/** An int of the kernel that is only read (an option of a socket): the program has equal ones once. */
export class IntArg {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }

  get bytes(): Uint8Array {
    return new Uint8Array(Int32Array.of(this.value).buffer);
  }
}

/** A part of an image that is only read: what belongs to thousands of things is copied in one go. */
export class ImagePart {
  readonly image: Uint8Array;
  readonly start: number;
  readonly length: number;

  constructor(image: Uint8Array, start: number, length: number) {
    this.image = image;
    this.start = start;
    this.length = length;
  }

  get bytes(): Uint8Array {
    return this.image.subarray(this.start, this.start + this.length);
  }
}

/** Room for two descriptors, whose numbers are known, or for what another step refers to; a program has it once. */
export const PAIR_ROOM = { bytes: new Uint8Array(8) } as const;
