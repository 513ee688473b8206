/**
 * What all parsers of /proc text share: strict numbers, the kernel's octal escapes, and the one error they throw.
 *
 * All input is a byte string: one character 0 to 255 per byte (latin1), so no byte of a file name is lost.
 */
import { CriuError } from '../base/errors.ts';

/** Where a piece of text comes from, for errors. `line` counts from 1; 0 means the file as a whole. */
export interface Place {
  readonly file: string;
  readonly line: number;
  /** The line itself. */
  readonly text: string;
}

/** The error of all parsers: file, line, what was expected there, and the start of the line. */
export function malformed(place: Place, expected: string): CriuError {
  const where = place.line === 0 ? '' : ` in line ${place.line}`;
  return new CriuError({
    object: place.file,
    action: `cannot parse the kernel's text: ${expected} expected${where}, found "${excerpt(place.text)}"`,
  });
}

const [MINUS, ZERO] = [45, 48];
/** So many digits are a number of 32 bits. */
const SHORT_DIGITS = 9;

/** Decimal number as the kernel prints it, exact up to 2^53; undefined when it is anything else. */
export function tryInteger(text: string): number | undefined {
  const first = text.charCodeAt(0) === MINUS ? 1 : 0;
  if (text.charCodeAt(first) === ZERO) return text.length === 1 ? 0 : undefined;
  if (!isDigits(text, 10, MINUS)) return undefined;
  if (text.length - first > SHORT_DIGITS) {
    const value = Number(text);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  // Without the runtime's help, for there are thousands: to compare what it prints of the number takes a string for each.
  let value = 0;
  for (let index = first; index < text.length; index++) value = (value * 10 + text.charCodeAt(index) - ZERO) | 0;
  return first === 0 ? value : -value;
}

/** Decimal number, sign and leading zeros allowed; exact up to 2^53. */
export function toInteger(text: string, place: Place, what: string): number {
  const plain = tryInteger(text);
  if (plain !== undefined) return plain;
  if (!isDigits(text, 10, MINUS)) throw malformed(place, what);
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw malformed(place, `${what} below 2^53`);
  return value;
}

/** Decimal number of any size, sign allowed. */
export function toBigint(text: string, place: Place, what: string): bigint {
  if (!isDigits(text, 10, MINUS)) throw malformed(place, what);
  return BigInt(text);
}

/** Unsigned hexadecimal number without prefix, up to 2^53. */
export function toHex(text: string, place: Place, what: string): number {
  if (!isDigits(text, 16)) throw malformed(place, what);
  const value = Number.parseInt(text, 16);
  if (!Number.isSafeInteger(value)) throw malformed(place, `${what} below 2^53`);
  return value;
}

/** Unsigned hexadecimal number without prefix, of any size; undefined when it is anything else. */
export function tryHexBigint(text: string): bigint | undefined {
  return isDigits(text, 16) ? BigInt(`0x${text}`) : undefined;
}

/** The same. Throws CriuError. */
export function toHexBigint(text: string, place: Place, what: string): bigint {
  const value = tryHexBigint(text);
  if (value === undefined) throw malformed(place, what);
  return value;
}

/** Unsigned octal number; a leading 0 is just a digit. */
export function toOctal(text: string, place: Place, what: string): number {
  if (!isDigits(text, 8)) throw malformed(place, what);
  const value = Number.parseInt(text, 8);
  if (!Number.isSafeInteger(value)) throw malformed(place, `${what} below 2^53`);
  return value;
}

/** Numbers separated by blanks or tabs; none for empty text. */
export function toIntegers(text: string, place: Place, what: string): number[] {
  return words(text).map((word) => toInteger(word, place, what));
}

/** The non-empty pieces between blanks and tabs. */
export function words(text: string): string[] {
  return text.split(/[ \t]+/).filter((word) => word !== '');
}

/** Undoes seq_escape() of fs/seq_file.c: backslash and three octal digits stand for one byte. */
export function unescapeOctal(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\([0-3][0-7]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** Calls `visit` for each line that is not empty, with its place. */
export function eachLine(text: string, file: string, visit: (line: string, place: Place) => void): void {
  let number = 1;
  for (let start = 0; start < text.length; number++) {
    const newline = text.indexOf('\n', start);
    const end = newline < 0 ? text.length : newline;
    if (end > start) {
      const line = text.slice(start, end);
      visit(line, { file, line: number, text: line });
    }
    start = end + 1;
  }
}

/** A value and the line it stood in. */
export interface Field {
  readonly value: string;
  readonly place: Place;
}

/** "Key:<blanks>value" lines by key; the first of equal keys wins. Lines without a colon are left out. */
export function parseKeyedLines(text: string, file: string): ReadonlyMap<string, Field> {
  const fields = new Map<string, Field>();
  eachLine(text, file, (line, place) => {
    const colon = line.indexOf(':');
    if (colon <= 0) return;
    const key = line.slice(0, colon);
    if (!fields.has(key)) fields.set(key, { value: line.slice(colon + 1).trim(), place });
  });
  return fields;
}

function isDigits(text: string, base: 8 | 10 | 16, sign = -1): boolean {
  let index = text.charCodeAt(0) === sign ? 1 : 0;
  if (index === text.length) return false;
  for (; index < text.length; index++) {
    const code = text.charCodeAt(index);
    const isDigit = code >= 48 && code < 48 + Math.min(base, 10);
    if (!isDigit && !(base === 16 && ((code >= 97 && code <= 102) || (code >= 65 && code <= 70)))) return false;
  }
  return true;
}

const EXCERPT_LENGTH = 80;

function excerpt(text: string): string {
  const start = text.length > EXCERPT_LENGTH ? `${text.slice(0, EXCERPT_LENGTH)}…` : text;
  return start.replace(/[^ -~…]/g, (char) => `\\x${(char.charCodeAt(0) & 0xff).toString(16).padStart(2, '0')}`);
}
