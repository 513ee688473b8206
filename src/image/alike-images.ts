/**
 * Several images of one kind that are much alike, such as those of threads, in one array. Parts with the same bytes are the
 * same object in all of them, which nobody may change.
 */
import { AlikeDecoder } from './alike-decoder.ts';
import type { MessageType } from './message-type.ts';

export class AlikeImages {
  private readonly bytes: Uint8Array;
  private readonly decoders = new Map<MessageType<unknown>, AlikeDecoder>();
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

  /** Decodes a part of an image that was added; what is like none before is up to `decode`. */
  decode<T>(type: MessageType<T>, image: Uint8Array, start: number, end: number, decode: () => T): T {
    if (image.buffer !== this.bytes.buffer) return decode();
    const decoder = this.decoders.get(type) ?? new AlikeDecoder(type, this.bytes);
    this.decoders.set(type, decoder);
    const [first, last] = [image.byteOffset + start, image.byteOffset + end];
    const known = decoder.tryDecode(first, last);
    if (known !== undefined) return known as T;
    const message = decode();
    decoder.note(first, last, message);
    return message;
  }
}
