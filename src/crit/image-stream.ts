/**
 * Walks through an image that comes in pieces: magic, messages, payloads. The counterpart of image/image-file.ts, which
 * holds an image in memory as a whole. At most one message is in memory; payloads pass through.
 */
import { CriuError } from '../base/errors.ts';
import { decode } from '../image/codec.ts';
import { ImageError } from '../image/image-error.ts';
import { detectImageKind } from '../image/image-file.ts';
import {
  IMAGE_KINDS,
  IMG_COMMON_MAGIC,
  IMG_SERVICE_MAGIC,
  type ImageKind,
  type RawKind,
} from '../image/image-kinds.ts';
import type { MessageType } from '../image/message-type.ts';
import { readUint32 } from '../image/wire-reader.ts';
import { ByteReader, type ByteSource } from './byte-stream.ts';
import { NLMSG_HEADER_BYTES, netlinkNameOf } from './netlink-image.ts';

export type FramedKind = Exclude<ImageKind, RawKind>;

/** Saved netlink messages, which have no entries of the common form. */
export interface NetlinkSpec {
  readonly layout: 'netlink';
  readonly magicName: string;
}

/** Bigger than any message of an image: the largest are the mappings of a process, some megabytes. */
const MESSAGE_BYTES_MAX = 1 << 28;

export interface ImageHeader {
  readonly spec: FramedKind | NetlinkSpec;
  /** Written by a criu before 2.0, whose images have no common magic. */
  readonly isVersion1: boolean;
}

export class ImageStream {
  private readonly reader: ByteReader;
  readonly place: { readonly file: string; entry: number | undefined };

  /** `file` is for error texts. */
  constructor(source: ByteSource, file: string) {
    this.reader = new ByteReader(source);
    this.place = { file, entry: undefined };
  }

  /** Throws when this is no image. */
  header(): ImageHeader {
    const start = this.reader.peek(8);
    if (start.length === 0) this.fail('the file is empty');
    if (start.length < 4) this.fail('the file is too short for an image');
    const first = readUint32(start, 0);
    const isFramed = first === IMG_COMMON_MAGIC || first === IMG_SERVICE_MAGIC;
    if (isFramed && start.length < 8) this.fail('the file is too short for an image');
    const netlinkName = netlinkNameOf(first);
    if (netlinkName !== undefined) {
      this.reader.take(4);
      return { spec: { layout: 'netlink', magicName: netlinkName }, isVersion1: false };
    }
    const kind = detectImageKind(start);
    if (kind === undefined) throw unknownMagic(this.place.file, isFramed ? readUint32(start, 4) : first);
    this.reader.take(isFramed ? 8 : 4);
    return { spec: IMAGE_KINDS[kind], isVersion1: !isFramed && kind !== 'inventory' };
  }

  get isAtEnd(): boolean {
    return this.reader.isAtEnd;
  }

  /** The next message; the image must not be at its end. */
  message<T>(type: MessageType<T>): T {
    return decode(type, this.messageBytes(), { ...this.place });
  }

  /** A message and how many bytes it has. */
  sizedMessage<T>(type: MessageType<T>): { message: T; size: number } {
    const bytes = this.messageBytes();
    return { message: decode(type, bytes, { ...this.place }), size: bytes.length };
  }

  /** The header of the next netlink message, and how many bytes follow it. */
  netlinkHeader(): { header: Uint8Array; length: number } {
    this.place.entry = this.place.entry === undefined ? 0 : this.place.entry + 1;
    const header = this.reader.take(NLMSG_HEADER_BYTES);
    if (header.length < NLMSG_HEADER_BYTES) this.failTruncated('the entry', NLMSG_HEADER_BYTES, header.length);
    const length = readUint32(header, 0) - NLMSG_HEADER_BYTES;
    if (length < 0) this.fail('the netlink message is shorter than its header');
    return { header, length };
  }

  /** Skips a message without looking into it. */
  skipMessage(): void {
    this.messageBytes();
  }

  /** The bytes after a message, in pieces; the padding is taken too. */
  *payload(length: number, alignment: number): Generator<Uint8Array, void> {
    yield* this.counted(length, 'the data after the entry');
    const padding = Math.ceil(length / alignment) * alignment - length;
    for (const _ of this.counted(padding, 'the padding after the entry'));
  }

  skipPayload(length: number, alignment: number): void {
    for (const _ of this.payload(length, alignment));
  }

  /** All that is left, in pieces. */
  rest(): Generator<Uint8Array, number> {
    return this.reader.pieces(Number.POSITIVE_INFINITY);
  }

  private messageBytes(): Uint8Array {
    this.place.entry = this.place.entry === undefined ? 0 : this.place.entry + 1;
    const word = this.reader.take(4);
    if (word.length < 4) this.fail('the file ends inside the size of the entry');
    const size = readUint32(word, 0);
    if (size > MESSAGE_BYTES_MAX) this.fail(`the entry has ${size} bytes, which is more than any has`);
    const bytes = this.reader.take(size);
    if (bytes.length < size) this.failTruncated('the entry', size, bytes.length);
    return bytes;
  }

  private *counted(length: number, what: string): Generator<Uint8Array, void> {
    const taken = yield* this.reader.pieces(length);
    if (taken < length) this.failTruncated(what, length, taken);
  }

  private failTruncated(what: string, wanted: number, left: number): never {
    return this.fail(`the file is truncated: ${what} has ${wanted} bytes, but only ${left} are left`);
  }

  private fail(problem: string): never {
    throw new ImageError({ ...this.place }, '', problem);
  }
}

function unknownMagic(file: string, magic: number): CriuError {
  return new CriuError({
    object: file,
    action: `Unknown magic 0x${magic.toString(16)}`,
    why: 'this is no image, or one of raw data (pages, packed files, what ip and iptables have saved)',
  });
}
