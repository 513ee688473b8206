/**
 * Damages images in ways that a seed decides: bits and bytes, cut files, fields with other values, entries that are gone,
 * doubled or swapped, files that are gone or are others. Field-level changes are made on decoded images and encoded again,
 * so that decoding does not stop them.
 */
import { parseImage } from '../../src/image/image-file.ts';
import { type ContentOf, type ImageKindName, parseImageFileName } from '../../src/image/image-kinds.ts';
import { serializeImage } from '../../src/image/serialize-image.ts';

export interface Mutation {
  readonly file: string;
  /** undefined: the file is to be removed. */
  readonly bytes: Uint8Array | undefined;
  /** What was done, for the report. */
  readonly what: string;
}

/** Numbers from a seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 to `below` - 1. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let value = this.#state;
    value = Math.imul(value ^ (value >>> 15), value | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return Math.floor((((value ^ (value >>> 14)) >>> 0) / 2 ** 32) * below);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

/** Makes one mutation of a set of files. `name` chooses the file. */
export function mutate(files: ReadonlyMap<string, Uint8Array>, name: string, random: Random): Mutation {
  const bytes = files.get(name) ?? new Uint8Array();
  const kind = parseImageFileName(name)?.kind;
  const choice = random.below(20);
  if (choice === 0) return { file: name, bytes: undefined, what: 'removed' };
  if (choice === 1) {
    const other = random.pick([...files.keys()]);
    return { file: name, bytes: files.get(other), what: `replaced by ${other}` };
  }
  if (choice < 8 || kind === undefined || kind === 'pages') return mutateBytes(name, bytes, random);
  // Not every change can be encoded again.
  for (let attempt = 0; attempt < 10; attempt++) {
    const mutation = tryMutateFields(name, kind, bytes, random);
    if (mutation !== undefined) return mutation;
  }
  return mutateBytes(name, bytes, random);
}

function mutateBytes(file: string, original: Uint8Array, random: Random): Mutation {
  if (original.length === 0) return { file, bytes: new Uint8Array([random.below(256)]), what: 'a byte added' };
  const at = random.below(original.length);
  const bytes = original.slice();
  switch (random.below(6)) {
    case 0:
      return { file, bytes: bytes.slice(0, at), what: `cut at ${at}` };
    case 1: {
      bytes[at] = random.below(256);
      return { file, bytes, what: `byte ${at} is ${bytes[at]}` };
    }
    case 2: {
      const count = 1 + random.below(8);
      const inserted = Uint8Array.from({ length: count }, () => random.below(256));
      const whole = Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at)]);
      return { file, bytes: whole, what: `${count} bytes put in at ${at}` };
    }
    case 3: {
      const end = Math.min(bytes.length, at + 1 + random.below(16));
      return {
        file,
        bytes: Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]),
        what: `${at} to ${end} cut out`,
      };
    }
    case 4: {
      const end = Math.min(bytes.length, at + 1 + random.below(8));
      bytes.fill(random.pick([0, 0x7f, 0x80, 0xff]), at, end);
      return { file, bytes, what: `${at} to ${end} filled` };
    }
    default: {
      const bit = random.below(8);
      bytes[at] = (bytes[at] as number) ^ (1 << bit);
      return { file, bytes, what: `bit ${bit} of byte ${at} flipped` };
    }
  }
}

function tryMutateFields(file: string, kind: ImageKindName, bytes: Uint8Array, random: Random): Mutation | undefined {
  try {
    const content: unknown = parseImage(kind, bytes, file);
    const what = mutateValue(content, random);
    return { file, bytes: serializeImage(kind, content as ContentOf<typeof kind>, file), what };
  } catch {
    return undefined;
  }
}

interface Place {
  readonly holder: Record<string, unknown> | unknown[];
  readonly key: string | number;
  readonly path: string;
}

/** All values inside, also those that have others inside. */
function places(value: unknown, path: string, found: Place[]): void {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return;
  const holder = value as Record<string, unknown>;
  for (const key of Object.keys(holder)) {
    const at = Array.isArray(value) ? `${path}[${key}]` : path === '' ? key : `${path}.${key}`;
    found.push({ holder, key: Array.isArray(value) ? Number(key) : key, path: at });
    places(holder[key], at, found);
  }
}

/** Changes one value inside and says which. */
function mutateValue(content: unknown, random: Random): string {
  const found: Place[] = [];
  places(content, '', found);
  if (found.length === 0) throw new Error('there is nothing to change');
  const { holder, key, path } = random.pick(found);
  const old = (holder as Record<string | number, unknown>)[key];
  const value = changed(old, random);
  (holder as Record<string | number, unknown>)[key] = value;
  return `${path}: ${text(old)} is now ${text(value)}`;
}

const NUMBERS = [0, 1, 2, 3, 0xff, 0x100, 0xfff, 0x1000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
const BIG_NUMBERS = [2 ** 40, 2 ** 47 - 4096, 2 ** 47, 2 ** 53 - 1, 2 ** 63, -1];
const TEXTS = [
  '',
  '/',
  '.',
  '..',
  '/proc/self',
  '/dev/null',
  '/nonexistent/file',
  '\0',
  '\xff\xfe',
  'a'.repeat(5000),
  '%s%n',
];

function changed(value: unknown, random: Random): unknown {
  if (random.below(8) === 0) return undefined;
  if (typeof value === 'number') return changedNumber(value, random);
  if (typeof value === 'bigint') return BigInt.asUintN(64, BigInt(changedNumber(Number(value), random)));
  if (typeof value === 'boolean') return !value;
  if (typeof value === 'string')
    return random.below(3) === 0 ? value.slice(random.below(value.length + 1)) : random.pick(TEXTS);
  if (value instanceof Uint8Array)
    return Uint8Array.from({ length: random.pick([0, 1, 7, value.length, 300]) }, () => random.below(256));
  if (Array.isArray(value)) return changedList(value, random);
  return undefined;
}

function changedNumber(value: number, random: Random): number {
  switch (random.below(5)) {
    case 0:
      return value + random.pick([-4096, -1, 1, 4096]);
    case 1:
      return random.pick(BIG_NUMBERS);
    case 2:
      return value < 2 ** 32 ? (value ^ (1 << random.below(32))) >>> 0 : value + 2 ** random.below(45);
    case 3:
      return random.below(0x1_0000_0000);
    default:
      return random.pick(NUMBERS);
  }
}

function changedList(list: unknown[], random: Random): unknown[] {
  if (list.length === 0) return [0];
  const at = random.below(list.length);
  switch (random.below(4)) {
    case 0:
      return list.toSpliced(at, 1);
    case 1:
      return list.toSpliced(at, 0, structuredClone(list[random.below(list.length)]));
    case 2:
      return list.toReversed();
    default:
      return list.slice(0, at);
  }
}

function text(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'object') return Array.isArray(value) ? `a list of ${value.length}` : 'a message';
  const all = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return all.length > 30 ? `${all.slice(0, 30)}...` : all;
}
