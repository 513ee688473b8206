/**
 * How crit writes bytes as text: names as quoted-printable (RFC 2045, section 6.7, with the choices of Python's `quopri`),
 * other bytes as base64, and byte strings as Unicode.
 *
 * A byte string that is not UTF-8 keeps its bytes as lone surrogates U+DC80 to U+DCFF, Python's "surrogateescape".
 */

/** Lines of quoted-printable are shorter than this. */
const QP_LINE_CHARS = 76;
const SPACE = 0x20;
const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const EQUALS = 0x3d;
const DOT = 0x2e;

/** The Unicode text of a byte string (one char a byte). */
export function unicodeOf(byteText: string): string {
  if (isAscii(byteText)) return byteText;
  const bytes = Buffer.from(byteText, 'latin1');
  let text = '';
  let position = 0;
  while (position < bytes.length) {
    const length = utf8Length(bytes, position);
    if (length === 0) text += String.fromCharCode(0xdc00 + (bytes[position] as number));
    else text += bytes.toString('utf8', position, position + length);
    position += Math.max(length, 1);
  }
  return text;
}

/** The byte string of a Unicode text; undefined when the text has a surrogate that stands for no byte. */
export function tryByteTextOf(text: string): string | undefined {
  if (isAscii(text)) return text;
  let bytes = '';
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    if (code >= 0xdc80 && code <= 0xdcff) bytes += String.fromCharCode(code - 0xdc00);
    else if (code >= 0xd800 && code <= 0xdfff) return undefined;
    else bytes += Buffer.from(char, 'utf8').toString('latin1');
  }
  return bytes;
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0x7f) return false;
  return true;
}

/** Length of the UTF-8 sequence at a position; 0 when there is none. */
function utf8Length(bytes: Uint8Array, position: number): number {
  const first = bytes[position] as number;
  if (first < 0x80) return 1;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || position + length > bytes.length) return 0;
  for (let index = 1; index < length; index++) if (((bytes[position + index] as number) & 0xc0) !== 0x80) return 0;
  const second = bytes[position + 1] as number;
  // Overlong forms, surrogates, and code points beyond the last one.
  if (first === 0xe0 && second < 0xa0) return 0;
  if (first === 0xed && second > 0x9f) return 0;
  if (first === 0xf0 && second < 0x90) return 0;
  if (first === 0xf4 && second > 0x8f) return 0;
  return length;
}

/** The bytes of base64 with blanks and line ends in it; undefined when it is not base64. */
export function tryDecodeBase64(text: string): Uint8Array | undefined {
  const compact = /[^A-Za-z0-9+/=]/.test(text) ? text.replace(/[\s]+/g, '') : text;
  if (compact.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(compact)) return undefined;
  return new Uint8Array(Buffer.from(compact, 'base64'));
}

/** Bytes as quoted-printable. Line ends stay line ends, unless the bytes mix both kinds, which would lose something. */
export function encodeQuotedPrintable(bytes: Uint8Array): string {
  const text = quoted(bytes, true);
  return sameBytes(decodeQuotedPrintable(text), bytes) ? text : quoted(bytes, false);
}

function quoted(bytes: Uint8Array, keepsLineEnds: boolean): string {
  const firstLf = bytes.indexOf(LF);
  const lineEnd = firstLf > 0 && bytes[firstLf - 1] === CR ? '\r\n' : '\n';
  let text = '';
  let column = 0;
  for (let index = 0; index < bytes.length; ) {
    const byte = bytes[index] as number;
    if (mustBeQuoted(bytes, index, column) || (!keepsLineEnds && (byte === CR || byte === LF))) {
      if (column + 3 >= QP_LINE_CHARS) [text, column] = [`${text}=${lineEnd}`, 0];
      text += `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
      column += 3;
      index++;
    } else if (byte === LF || (byte === CR && bytes[index + 1] === LF)) {
      // A blank at the end of a line would be lost.
      text = text.replace(/ $/, '=20').replace(/\t$/, '=09') + lineEnd;
      column = 0;
      index += byte === CR ? 2 : 1;
    } else {
      const isLast = index + 1 === bytes.length;
      if (!isLast && bytes[index + 1] !== LF && column + 1 >= QP_LINE_CHARS) [text, column] = [`${text}=${lineEnd}`, 0];
      text += String.fromCharCode(byte);
      column++;
      index++;
    }
  }
  return text;
}

function mustBeQuoted(bytes: Uint8Array, index: number, column: number): boolean {
  const byte = bytes[index] as number;
  const next = bytes[index + 1];
  if (byte > 126 || byte === EQUALS) return true;
  if (byte === DOT && column === 0) return next === undefined || next === LF || next === CR || next === 0;
  if (byte === TAB || byte === SPACE) return next === undefined;
  return byte < 33 && byte !== CR && byte !== LF;
}

/** Never fails: what is no quoting stands for itself. */
export function decodeQuotedPrintable(text: string): Uint8Array {
  const quoted = tryByteTextOf(text) ?? text;
  // "==" stands for "=", and "=" at the end of a line for nothing.
  const plain = quoted.replace(/=(?:([0-9A-Fa-f]{2})|(=)|\n|\r[^\n]*\n?|$)/g, (_, hex?: string, equals?: string) =>
    hex === undefined ? (equals ?? '') : String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return new Uint8Array(Buffer.from(plain, 'latin1'));
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
