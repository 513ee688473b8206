/** The one error of everything that reads or writes image files: it names the file, the entry and the field. */
import { CriuError, type CriuErrorFields } from '../base/errors.ts';

/** A place in an image: `core-12.img`, or a part of it. */
export interface ImagePlace {
  /** File name, or another word for where the bytes came from: `core-12.img`, `rpc request`. */
  readonly file: string;
  /** Index of the entry in the file. */
  readonly entry?: number | undefined;
}

/** An image is damaged, or a value cannot be stored in one. The message is `core-12.img: entry 0: tc.comm: problem`. */
export class ImageError extends CriuError {
  readonly place: ImagePlace;
  /** Path of the field inside the entry, empty for the entry as a whole: `tc.sigactions[3].flags`. */
  readonly field: string;

  constructor(
    place: ImagePlace,
    field: string,
    problem: string,
    more: Omit<CriuErrorFields, 'object' | 'action'> = {},
  ) {
    super({ ...more, object: describePlace(place, field), action: problem });
    this.place = place;
    this.field = field;
  }
}

function describePlace({ file, entry }: ImagePlace, field: string): string {
  const withEntry = entry === undefined ? file : `${file}: entry ${entry}`;
  return field === '' ? withEntry : `${withEntry}: ${field}`;
}

/** A message inside a message inside… deeper than this is damage: the same limit as in Google's own decoders. */
const MAX_DEPTH = 100;

/** The fields we are inside of, as names and indexes (-1: not repeated); becomes text only when something fails. */
export class FieldPath {
  readonly place: ImagePlace;
  private readonly names: string[] = [];
  private readonly indexes: number[] = [];

  constructor(place: ImagePlace) {
    this.place = place;
  }

  enter(name: string, index: number): void {
    this.names.push(name);
    this.indexes.push(index);
    if (this.names.length > MAX_DEPTH) this.fail('', `messages are nested more than ${MAX_DEPTH} deep`);
  }

  leave(): void {
    this.names.pop();
    this.indexes.pop();
  }

  /** Throws for a field of the message we are in; an empty name means the message itself. */
  fail(field: string, problem: string): never {
    const parts = this.names.map((name, depth) => {
      const index = this.indexes[depth] ?? -1;
      return index < 0 ? name : `${name}[${index}]`;
    });
    if (field !== '') parts.push(field);
    throw new ImageError({ ...this.place }, parts.join('.'), problem);
  }
}
