/**
 * getopt_long(3) as glibc does it: unique prefixes of long options, permutation, "--", values stuck to short options,
 * optional values only with "=" (long) or stuck (short). Pure; knows nothing of criu's options.
 *
 * The error texts are glibc's, without the program name, because users search for them.
 */

export type ArgumentKind = 'none' | 'required' | 'optional';

export interface LongOption<Id> {
  readonly name: string;
  readonly argument: ArgumentKind;
  readonly id: Id;
}

export interface ShortOption<Id> {
  /** One char. */
  readonly name: string;
  readonly argument: ArgumentKind;
  readonly id: Id;
}

export interface OptionSet<Id> {
  readonly long: readonly LongOption<Id>[];
  readonly short: readonly ShortOption<Id>[];
}

/** One option as found, in order. */
export interface GivenOption<Id> {
  readonly id: Id;
  /** "-t" or "--tree", spelled out where it was abbreviated. */
  readonly spelling: string;
  readonly value: string | undefined;
}

export interface GetoptResult<Id> {
  readonly given: readonly GivenOption<Id>[];
  /** What is not an option, in order. */
  readonly rest: readonly string[];
  /** The first thing that is wrong; options before it are in `given`, as with getopt's loop. */
  readonly error: string | undefined;
}

/** Splits `words` (without the program name) into options and the rest. Stops at the first error. */
export function parseGetopt<Id>(words: readonly string[], options: OptionSet<Id>): GetoptResult<Id> {
  const given: GivenOption<Id>[] = [];
  const rest: string[] = [];
  const cursor: Cursor = { words, next: 0 };
  while (cursor.next < words.length) {
    const word = words[cursor.next++] ?? '';
    if (word === '--') {
      rest.push(...words.slice(cursor.next));
      break;
    }
    if (!word.startsWith('-') || word === '-') {
      rest.push(word);
      continue;
    }
    const error = word.startsWith('--')
      ? takeLong(word.slice(2), options.long, cursor, given)
      : takeShorts(word, options.short, cursor, given);
    if (error !== undefined) return { given, rest, error };
  }
  return { given, rest, error: undefined };
}

interface Cursor {
  readonly words: readonly string[];
  next: number;
}

function takeLong<Id>(
  text: string,
  options: readonly LongOption<Id>[],
  cursor: Cursor,
  given: GivenOption<Id>[],
): string | undefined {
  const equals = text.indexOf('=');
  const name = equals < 0 ? text : text.slice(0, equals);
  let value = equals < 0 ? undefined : text.slice(equals + 1);
  const found = findLong(name, options);
  if (typeof found === 'string') return found;
  const spelling = `--${found.name}`;
  if (found.argument === 'none' && value !== undefined) return `option '${spelling}' doesn't allow an argument`;
  if (found.argument === 'required' && value === undefined) {
    if (cursor.next >= cursor.words.length) return `option '${spelling}' requires an argument`;
    value = cursor.words[cursor.next++];
  }
  given.push({ id: found.id, spelling, value });
  return undefined;
}

/** An exact name, else the only option that begins so. Prefixes of options with the same meaning are not ambiguous. */
function findLong<Id>(name: string, options: readonly LongOption<Id>[]): LongOption<Id> | string {
  const candidates: LongOption<Id>[] = [];
  for (const option of options) {
    if (option.name === name) return option;
    if (option.name.startsWith(name)) candidates.push(option);
  }
  const [first] = candidates;
  if (first === undefined) return `unrecognized option '--${name}'`;
  const isAmbiguous = candidates.some((other) => other.id !== first.id || other.argument !== first.argument);
  if (!isAmbiguous) return first;
  const list = candidates.map((candidate) => ` '--${candidate.name}'`).join('');
  return `option '--${name}' is ambiguous; possibilities:${list}`;
}

function takeShorts<Id>(
  word: string,
  options: readonly ShortOption<Id>[],
  cursor: Cursor,
  given: GivenOption<Id>[],
): string | undefined {
  for (let index = 1; index < word.length; index++) {
    const letter = word.charAt(index);
    const option = findShort(letter, options);
    if (option === undefined) return `invalid option -- '${letter}'`;
    const stuck = word.slice(index + 1);
    const spelling = `-${letter}`;
    if (option.argument === 'none') {
      given.push({ id: option.id, spelling, value: undefined });
      continue;
    }
    let value = stuck === '' ? undefined : stuck;
    if (option.argument === 'required' && value === undefined) {
      if (cursor.next >= cursor.words.length) return `option requires an argument -- '${letter}'`;
      value = cursor.words[cursor.next++];
    }
    given.push({ id: option.id, spelling, value });
    return undefined;
  }
  return undefined;
}

/** A plain loop: Array.find costs more than all of parsing when nothing is warm yet. */
function findShort<Id>(letter: string, options: readonly ShortOption<Id>[]): ShortOption<Id> | undefined {
  for (const option of options) if (option.name === letter) return option;
  return undefined;
}
