/**
 * Many images of one kind that are much alike, such as those of threads, in one array. Parts with the same bytes are the
 * same object in all of them, which nobody may change.
 */
import { type ManyDecoder, manyDecoder } from './many-decoder.ts';
import type { MessageType } from './message-type.ts';

/** From so many bytes on it pays to compile a decoder: images of threads are long for what is in them. */
const ALIKE_BYTES = 80 * 1024;

export class AlikeImages {
  private readonly bytes: Uint8Array;
  private readonly decoders = new Map<MessageType<unknown>, ManyDecoder<unknown>>();
  private used = 0;

  /** For images of so many bytes together. */
  constructor(bytes: number) {
    this.bytes = new Uint8Array(bytes);
  }

  /** Adds an image; returns its bytes as they are in the array. */
  add(image: Uint8Array): Uint8Array {
    const start = this.used;
    this.bytes.set(image, start);
    this.used += image.length;
    return this.bytes.subarray(start, this.used);
  }

  /** Decodes a part of an image that was added. Undefined when that is up to the codec: see `ManyDecoder`. */
  tryDecode<T>(type: MessageType<T>, image: Uint8Array, start: number, end: number): T | undefined {
    if (this.bytes.length < ALIKE_BYTES || image.buffer !== this.bytes.buffer) return undefined;
    const decode = this.decoders.get(type) ?? manyDecoder(type, this.bytes);
    this.decoders.set(type, decode);
    return decode(image.byteOffset + start, image.byteOffset + end) as T | undefined;
  }
}
