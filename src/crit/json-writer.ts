/**
 * Writes JSON piece by piece, in the form of Python's `json.dump`, which CRIU's crit uses: `", "` and `": "` on one line,
 * or an indent of four; all characters but ASCII escaped. So the text is the same, not only the value.
 */
import type { ByteSink } from './byte-stream.ts';
import type { JsonValue } from './json-value.ts';

const FLUSH_CHARS = 1 << 16;
/** Bytes of a payload that make whole lines of base64; a line has 76 chars. */
const BASE64_LINE_BYTES = 57;
const BASE64_PIECE_BYTES = BASE64_LINE_BYTES * 1024;

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\b': '\\b',
  '\f': '\\f',
};

export class JsonWriter {
  private readonly sink: ByteSink;
  private readonly indent: number;
  private text = '';
  /** For each open bracket whether something is in it already. */
  private readonly isFilled: boolean[] = [];
  private isAfterKey = false;

  /** `indent` 0 writes all on one line. */
  constructor(sink: ByteSink, indent: number) {
    this.sink = sink;
    this.indent = indent;
  }

  open(bracket: '{' | '['): void {
    this.item(bracket);
    this.isFilled.push(false);
  }

  close(bracket: '}' | ']'): void {
    if (this.isFilled.pop() === true) this.newLine();
    this.put(bracket);
  }

  key(name: string): void {
    this.item(`${quote(name)}: `);
    this.isAfterKey = true;
  }

  value(value: JsonValue): void {
    if (Array.isArray(value)) {
      this.open('[');
      for (const element of value) this.value(element);
      this.close(']');
    } else if (typeof value === 'object') {
      this.open('{');
      this.members(value);
      this.close('}');
    } else this.item(typeof value === 'string' ? quote(value) : String(value));
  }

  /** The members of an object into one that is open. */
  members(object: Readonly<Record<string, JsonValue>>): void {
    for (const [key, value] of Object.entries(object)) {
      this.key(key);
      this.value(value);
    }
  }

  /** A base64 string of bytes that come in pieces. */
  base64(pieces: Iterable<Uint8Array>): void {
    this.item('"');
    let rest = new Uint8Array();
    for (const piece of pieces) {
      rest = rest.length === 0 ? Uint8Array.from(piece) : joined(rest, piece);
      while (rest.length >= BASE64_PIECE_BYTES) {
        this.put(base64Lines(rest.subarray(0, BASE64_PIECE_BYTES)).replaceAll('\n', '\\n'));
        rest = rest.subarray(BASE64_PIECE_BYTES);
      }
    }
    this.put(`${base64Lines(rest).replaceAll('\n', '\\n')}"`);
  }

  /** Text as it is, after the value: the newline at the end. */
  raw(text: string): void {
    this.put(text);
  }

  flush(): void {
    if (this.text === '') return;
    // All text is ASCII.
    this.sink.write(Buffer.from(this.text, 'latin1'));
    this.text = '';
  }

  private item(text: string): void {
    if (this.isAfterKey) this.isAfterKey = false;
    else if (this.isFilled.length > 0) {
      if (this.isFilled.at(-1) === true) this.put(this.indent === 0 ? ', ' : ',');
      this.isFilled[this.isFilled.length - 1] = true;
      this.newLine();
    }
    this.put(text);
  }

  private newLine(): void {
    if (this.indent > 0) this.put(`\n${' '.repeat(this.indent * this.isFilled.length)}`);
  }

  private put(text: string): void {
    this.text += text;
    if (this.text.length >= FLUSH_CHARS) this.flush();
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}

/** Base64 in lines of 76 chars, each with its newline: the form of Python's `base64.encodebytes`. */
export function base64Lines(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
  return text.replace(/.{1,76}/g, '$&\n');
}

function quote(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must be escaped.
  return `"${text.replace(/["\\\x00-\x1f\x7f-\uffff]/g, escapeChar)}"`;
}

function escapeChar(char: string): string {
  return SHORT_ESCAPES[char] ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
