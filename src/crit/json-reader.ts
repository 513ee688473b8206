/**
 * Reads JSON piece by piece from a source, so that an image with many entries is never in memory as a whole. Integers are
 * exact: a number when it is safe, else a bigint. Fractions are refused, for images have none.
 */
import { CriuError } from '../base/errors.ts';
import { ByteReader, type ByteSource } from './byte-stream.ts';
import { type JsonObject, type JsonValue, setMember } from './json-value.ts';
import { tryDecodeBase64 } from './text-codings.ts';

/** Messages in images are never so deep. */
const MAX_DEPTH = 200;
const BLOCK_BYTES = 1 << 16;
/** So much base64 is decoded at once. */
const BASE64_CHARS = 1 << 16;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

export class JsonReader {
  private readonly reader: ByteReader;
  private readonly name: string;
  private block = new Uint8Array();
  private position = 0;
  /** Bytes before `block`. */
  private offset = 0;
  private depth = 0;

  /** `name` is for error texts. */
  constructor(source: ByteSource, name: string) {
    this.reader = new ByteReader(source);
    this.name = name;
  }

  /** Walks through the members of an object; the caller reads each value. */
  *members(): Generator<string> {
    this.expect('{');
    this.enter();
    if (!this.takes('}')) {
      do {
        this.blanks();
        const key = this.string();
        this.expect(':');
        yield key;
      } while (this.takes(','));
      this.expect('}');
    }
    this.depth--;
  }

  /** Walks through the elements of an array; the caller reads each value. */
  *elements(): Generator<number> {
    this.expect('[');
    this.enter();
    if (!this.takes(']')) {
      let index = 0;
      do yield index++;
      while (this.takes(','));
      this.expect(']');
    }
    this.depth--;
  }

  value(): JsonValue {
    this.blanks();
    const char = this.char();
    if (char === '{') {
      const object: JsonObject = {};
      for (const key of this.members()) setMember(object, key, this.value());
      return object;
    }
    if (char === '[') {
      const list: JsonValue[] = [];
      for (const _ of this.elements()) list.push(this.value());
      return list;
    }
    if (char === '"') return this.string();
    return this.word();
  }

  /** Only blanks may follow. */
  end(): void {
    this.blanks();
    if (this.byte() >= 0) this.fail('there is more after the end of the JSON value');
  }

  private enter(): void {
    if (++this.depth > MAX_DEPTH) this.fail(`values are nested more than ${MAX_DEPTH} deep`);
  }

  private word(): JsonValue {
    let text = '';
    for (let byte = this.byte(); isWordByte(byte); byte = this.byte()) {
      text += String.fromCharCode(byte);
      this.position++;
      if (text.length > 400) this.fail('a number is too long');
    }
    if (text === 'true') return true;
    if (text === 'false') return false;
    if (/^-?(0|[1-9][0-9]*)$/.test(text)) {
      const number = Number(text);
      return Number.isSafeInteger(number) ? number : BigInt(text);
    }
    if (text === '') this.fail(this.byte() < 0 ? 'the JSON ends too early' : `'${this.char()}' is not expected here`);
    return this.fail(`'${text}' is not a value that images have`);
  }

  /** Whether an object comes next. */
  get isAtObject(): boolean {
    this.blanks();
    return this.char() === '{';
  }

  /** Whether a string comes next. */
  get isAtString(): boolean {
    this.blanks();
    return this.byte() === QUOTE;
  }

  /** The bytes of a string in base64, in pieces, without the text being in memory; undefined when it is not base64. */
  base64(): Uint8Array[] | undefined {
    const decoded: Uint8Array[] = [];
    let text = '';
    let isValid = true;
    for (const piece of this.stringPieces()) {
      if (typeof piece !== 'string')
        text += Buffer.from(piece.buffer, piece.byteOffset, piece.length).toString('latin1');
      else if (piece.trim() !== '') isValid = false;
      if (text.length < BASE64_CHARS) continue;
      const bytes = tryDecodeBase64(text.slice(0, BASE64_CHARS));
      // Padding is right at the end only.
      if (bytes === undefined || bytes.length < BASE64_CHARS * 0.75) isValid = false;
      else decoded.push(bytes);
      text = text.slice(BASE64_CHARS);
    }
    const last = tryDecodeBase64(text);
    return isValid && last !== undefined ? [...decoded, last] : undefined;
  }

  private string(): string {
    if (this.byte() !== QUOTE) this.fail('a string is expected');
    let text = '';
    // Runs of bytes are decoded together: a char of UTF-8 may lie across two blocks.
    let run: Uint8Array[] = [];
    for (const piece of this.stringPieces()) {
      if (typeof piece !== 'string') run.push(piece);
      else {
        text += this.decoded(run) + piece;
        run = [];
      }
    }
    return text + this.decoded(run);
  }

  /** What is between the quotes: bytes as they are, and the chars of escapes. */
  private *stringPieces(): Generator<Uint8Array | string> {
    this.position++;
    for (;;) {
      const { block, position: start } = this;
      let end = start;
      while (end < block.length && !isSpecial(block[end] as number)) end++;
      this.position = end;
      if (end > start) yield block.subarray(start, end);
      const byte = this.byte();
      if (byte < 0) this.fail('the JSON ends inside of a string');
      if (!isSpecial(byte)) continue;
      if (byte < 0x20) this.fail('a control character is not escaped');
      this.position++;
      if (byte === QUOTE) return;
      yield this.escape();
    }
  }

  private decoded(run: readonly Uint8Array[]): string {
    const [first] = run;
    if (first === undefined) return '';
    const bytes = run.length === 1 ? first : Buffer.concat(run);
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return this.fail('this is not UTF-8');
    }
  }

  private escape(): string {
    const char = this.char();
    this.position++;
    if (char !== 'u') return ESCAPES[char] ?? this.fail(`\\${char} is not an escape`);
    let digits = '';
    for (let index = 0; index < 4; index++) {
      digits += this.char();
      this.position++;
    }
    if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail('\\u must be followed by four hexadecimal digits');
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  private takes(char: string): boolean {
    this.blanks();
    if (this.char() !== char) return false;
    this.position++;
    return true;
  }

  private expect(char: string): void {
    if (this.takes(char)) return;
    this.fail(this.byte() < 0 ? 'the JSON ends too early' : `'${char}' is expected, not '${this.char()}'`);
  }

  private blanks(): void {
    for (let byte = this.byte(); byte === 32 || (byte >= 9 && byte <= 13); byte = this.byte()) this.position++;
  }

  private char(): string {
    const byte = this.byte();
    return byte < 0 ? '' : String.fromCharCode(byte);
  }

  /** The byte at the position; -1 at the end. */
  private byte(): number {
    if (this.position >= this.block.length) {
      this.offset += this.block.length;
      this.block = this.reader.take(BLOCK_BYTES) as Uint8Array<ArrayBuffer>;
      this.position = 0;
      if (this.block.length === 0) return -1;
    }
    return this.block[this.position] as number;
  }

  private fail(problem: string): never {
    const object = `${this.name}: byte ${this.offset + this.position}`;
    throw new CriuError({ object, action: `this is not the JSON of an image: ${problem}` });
  }
}

function isSpecial(byte: number): boolean {
  return byte === QUOTE || byte === BACKSLASH || byte < 0x20;
}

function isWordByte(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x7a) || '+-.ENI'.includes(String.fromCharCode(byte))
  );
}
