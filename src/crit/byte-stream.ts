/**
 * Bytes that come and go in pieces: images may be much bigger than memory. crit knows no files; whoever runs it gives a
 * source and a sink (src/cli/crit for descriptors, tests for arrays).
 */

export interface ByteSource {
  /** The next bytes, at most `max`; empty at the end. The array is the reader's from now on. */
  read(max: number): Uint8Array;
}

export interface ByteSink {
  write(bytes: Uint8Array): void;
}

const CHUNK_BYTES = 1 << 18;

/** Reads a source in the portions that are asked for. A size that is not true costs no memory. */
export class ByteReader {
  private readonly source: ByteSource;
  private buffer: Uint8Array = new Uint8Array();
  private start = 0;
  private isDone = false;

  constructor(source: ByteSource) {
    this.source = source;
  }

  /** Up to `count` bytes without taking them; fewer only at the end. */
  peek(count: number): Uint8Array {
    this.fill(count);
    return this.buffer.subarray(this.start, Math.min(this.start + count, this.buffer.length));
  }

  /** Takes `count` bytes, or all that are left when there are fewer. The result is the caller's. */
  take(count: number): Uint8Array {
    const bytes = this.peek(count).slice();
    this.start += bytes.length;
    return bytes;
  }

  /** Takes `count` bytes in pieces; fewer only at the end. */
  *pieces(count: number): Generator<Uint8Array, number> {
    let taken = 0;
    while (taken < count) {
      const piece = this.take(Math.min(count - taken, CHUNK_BYTES));
      if (piece.length === 0) break;
      taken += piece.length;
      yield piece;
    }
    return taken;
  }

  /** Skips `count` bytes; returns how many there were. */
  skip(count: number): number {
    let skipped = 0;
    for (const piece of this.pieces(count)) skipped += piece.length;
    return skipped;
  }

  get isAtEnd(): boolean {
    return this.peek(1).length === 0;
  }

  private fill(count: number): void {
    let available = this.buffer.length - this.start;
    if (this.isDone || available >= count) return;
    const pieces = [this.buffer.subarray(this.start)];
    while (!this.isDone && available < count) {
      const piece = this.source.read(CHUNK_BYTES);
      pieces.push(piece);
      available += piece.length;
      this.isDone = piece.length === 0;
    }
    this.buffer = Buffer.concat(pieces);
    this.start = 0;
  }
}

/** A source over an array. */
export function arraySource(bytes: Uint8Array): ByteSource {
  let position = 0;
  return {
    read(max) {
      const piece = bytes.subarray(position, position + max);
      position += piece.length;
      return piece;
    },
  };
}

/** Everything that is written, joined. */
export class ArraySink implements ByteSink {
  private readonly pieces: Uint8Array[] = [];

  write(bytes: Uint8Array): void {
    this.pieces.push(bytes.slice());
  }

  get bytes(): Uint8Array {
    return Buffer.concat(this.pieces);
  }
}
