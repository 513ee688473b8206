/**
 * Image files as bytes → content: magic words, entry framing (a 32-bit size before each message) and raw payloads. Pure; files
 * are opened by image-dir.ts. Everything read is bounded by the bytes that are there. serialize-image.ts is the other way.
 */
import { assert } from '../base/errors.ts';
import type { AlikeImages } from './alike-images.ts';
import { decodeFrom } from './codec.ts';
import { GhostChunkEntry } from './gen/ghost-file.ts';
import { IpcMsg } from './gen/ipc-msg.ts';
import { PagemapHead } from './gen/pagemap.ts';
import { ImageError } from './image-error.ts';
import {
  type ContentOf,
  type ElementOf,
  type FramedKind,
  type GhostFile,
  IMAGE_KINDS,
  IMG_COMMON_MAGIC,
  IMG_SERVICE_MAGIC,
  type ImageKind,
  type ImageKindName,
  type IpcMessageQueue,
  type ListKindName,
  type Pagemap,
  type PayloadKind,
  type RawKind,
  type WithPayload,
} from './image-kinds.ts';
import { type ManyDecoder, manyDecoder } from './many-decoder.ts';
import type { MessageType } from './message-type.ts';
import { readUint32, WireReader } from './wire-reader.ts';

/** Alignment of the text of System V messages. */
export const IPC_MSG_ALIGNMENT = 8;

/**
 * Parses a whole image. `fileName` is for error texts only. Accepts version 1 images (without the common magic) too.
 * Payloads and `bytes` fields are views into `bytes`. `alike` has the bytes, and those of other images.
 * Throws an ImageError.
 */
export function parseImage<K extends ImageKindName>(
  kind: K,
  bytes: Uint8Array,
  fileName: string,
  alike?: AlikeImages,
): ContentOf<K> {
  const spec: ImageKind = IMAGE_KINDS[kind];
  if (spec.layout === 'raw') return bytes as ContentOf<K>;
  const cursor = new EntryCursor(bytes, fileName, alike);
  cursor.magic(spec);
  return parseContent(spec, cursor) as ContentOf<K>;
}

/** The entries of an image that is a list, without those that are taken: told where each is in `bytes`. */
export function parseEntriesExcept<K extends ListKindName>(
  kind: K,
  bytes: Uint8Array,
  fileName: string,
  isTaken: (start: number, end: number) => boolean,
): ElementOf<K>[] {
  const spec: FramedKind = IMAGE_KINDS[kind];
  const cursor = new EntryCursor(bytes, fileName, undefined);
  cursor.magic(spec);
  return cursor.messages(spec.type as MessageType<ElementOf<K>>, isTaken);
}

/**
 * The same of an image with data behind each entry. `take` is told where an entry is, and returns how much data belongs to it,
 * or −1 for one that it does not take.
 */
export function parseWithPayloadExcept<K extends ListKindName>(
  kind: K,
  bytes: Uint8Array,
  fileName: string,
  take: (start: number, end: number) => number,
  other: (element: ElementOf<K>) => void,
): void {
  const spec: FramedKind = IMAGE_KINDS[kind];
  assert(spec.layout === 'payload', 'there is data behind its entries');
  const cursor = new EntryCursor(bytes, fileName, undefined);
  cursor.magic(spec);
  cursor.withPayload(spec, take, other as (element: WithPayload<unknown>) => void);
}

function parseContent(spec: FramedKind, cursor: EntryCursor): unknown {
  switch (spec.layout) {
    case 'entries':
      return cursor.messages(spec.type);
    case 'payload':
      return cursor.all(() => {
        const message = cursor.message(spec.type);
        return { message, payload: cursor.payload(spec.payloadLength(message), spec.alignment) };
      });
    case 'pagemap': {
      const head = cursor.message(PagemapHead);
      return { head, entries: cursor.messages(spec.type) } satisfies Pagemap;
    }
    case 'ghost-file':
      return parseGhostFile(spec.type, cursor);
    case 'ipc-msg':
      return cursor.all(() => parseQueue(spec.type, cursor));
  }
}

function parseGhostFile(type: MessageType<GhostFile['message']>, cursor: EntryCursor): GhostFile {
  const message = cursor.message(type);
  if (message.chunks !== true) return { message, payload: cursor.rest() };
  const chunks = cursor.all(() => {
    const chunk = cursor.message(GhostChunkEntry);
    return { message: chunk, payload: cursor.payload(chunk.len, 1) };
  });
  return { message, chunks };
}

function parseQueue(type: MessageType<IpcMessageQueue['message']>, cursor: EntryCursor): IpcMessageQueue {
  const message = cursor.message(type);
  const messages: WithPayload<IpcMsg>[] = [];
  for (let index = 0; index < message.qnum; index++) {
    const ipcMsg = cursor.message(IpcMsg);
    messages.push({ message: ipcMsg, payload: cursor.payload(ipcMsg.msize, IPC_MSG_ALIGNMENT) });
  }
  return { message, messages };
}

/** The size before each entry. */
const SIZE_BYTES = 4;

const DATA = 'the data after the entry';

/** An image of this size has so many entries that compiling a decoder for them pays. */
const MANY_BYTES = 16 * 1024;
/** For so many it does not. */
const FEW_ENTRIES = 100;

/** Walks through an image; keeps the number of the entry for error texts. */
class EntryCursor {
  private readonly bytes: Uint8Array;
  private readonly reader: WireReader;
  private readonly place: { file: string; entry: number | undefined };
  private position = 0;
  private readonly alike: AlikeImages | undefined;
  /** Of the entries that came last. */
  private decoder: { readonly type: MessageType<unknown>; readonly decode: ManyDecoder<unknown> } | undefined;

  constructor(bytes: Uint8Array, file: string, alike: AlikeImages | undefined) {
    this.bytes = bytes;
    this.alike = alike;
    this.place = { file, entry: undefined };
    this.reader = new WireReader(bytes, this.place);
  }

  magic(spec: FramedKind): void {
    if (this.bytes.length === 0) this.fail('the file is empty');
    const first = this.word('the file is too short for an image');
    const isFramed = first === IMG_COMMON_MAGIC || first === IMG_SERVICE_MAGIC;
    const magic = isFramed ? this.word('the file is too short for an image') : first;
    if (magic === spec.magic) return;
    const other = kindNameOfMagic(magic);
    if (other === undefined) this.fail(`this is not a ${spec.magicName} image: its magic is 0x${magic.toString(16)}`);
    this.fail(`this is a ${other} image, but a ${spec.magicName} image is expected`);
  }

  all<T>(parse: () => T): T[] {
    const list: T[] = [];
    while (this.position < this.bytes.length) list.push(parse());
    return list;
  }

  /** All that is left, without those that are taken. */
  messages<T>(type: MessageType<T>, isTaken?: (start: number, end: number) => boolean): T[] {
    const list: T[] = [];
    const { bytes } = this;
    // Where entries are taken it is not known how many are left.
    let few = bytes.length < MANY_BYTES ? Number.POSITIVE_INFINITY : isTaken === undefined ? 0 : FEW_ENTRIES;
    while (this.position < bytes.length) {
      const start = this.position + SIZE_BYTES;
      const end = start <= bytes.length ? start + readUint32(bytes, this.position) : start;
      const isTakenHere = isTaken !== undefined && end <= bytes.length && isTaken(start, end);
      const isMany = end <= bytes.length && !isTakenHere && --few < 0;
      const message = isMany ? this.many(type)(start, end) : undefined;
      if (message !== undefined) list.push(message);
      if (message !== undefined || isTakenHere) {
        this.position = end;
        this.place.entry = (this.place.entry ?? -1) + 1;
      } else list.push(this.message(type, few >= 0));
    }
    return list;
  }

  /** All that is left; what is taken is told, and its data is left out. */
  withPayload(
    spec: PayloadKind<unknown>,
    take: (start: number, end: number) => number,
    other: (element: WithPayload<unknown>) => void,
  ): void {
    const { bytes } = this;
    while (this.position < bytes.length) {
      const start = this.position + SIZE_BYTES;
      const end = start <= bytes.length ? start + readUint32(bytes, this.position) : start;
      const length = end <= bytes.length ? take(start, end) : -1;
      if (length >= 0) {
        this.position = end;
        this.place.entry = (this.place.entry ?? -1) + 1;
        this.take(length, DATA);
        continue;
      }
      const message = this.message(spec.type);
      other({ message, payload: this.payload(spec.payloadLength(message), spec.alignment) });
    }
  }

  /** `isOne`: of few, for which a decoder does not pay. */
  message<T>(type: MessageType<T>, isOne = this.bytes.length < MANY_BYTES): T {
    this.place.entry = this.place.entry === undefined ? 0 : this.place.entry + 1;
    const size = this.word('the file ends inside the size of the entry');
    const end = this.take(size, 'the entry');
    const start = end - size;
    const decode = () => {
      this.reader.limit(start, end);
      return decodeFrom(type, this.reader);
    };
    if (!isOne) return this.many(type)(start, end) ?? decode();
    return this.alike?.decode(type, this.bytes, start, end, decode) ?? decode();
  }

  private many<T>(type: MessageType<T>): ManyDecoder<T> {
    if (this.decoder?.type !== type) this.decoder = { type, decode: manyDecoder(type, this.bytes) };
    return this.decoder.decode as ManyDecoder<T>;
  }

  payload(length: number, alignment: number): Uint8Array {
    const padded = Math.ceil(length / alignment) * alignment;
    const end = this.take(padded, DATA);
    return this.bytes.subarray(end - padded, end - padded + length);
  }

  rest(): Uint8Array {
    const start = this.position;
    this.position = this.bytes.length;
    return this.bytes.subarray(start);
  }

  private word(problem: string): number {
    const { bytes, position } = this;
    if (bytes.length - position < SIZE_BYTES) this.fail(problem);
    this.position += SIZE_BYTES;
    return readUint32(bytes, position);
  }

  private take(length: number, what: string): number {
    const left = this.bytes.length - this.position;
    if (length > left) this.fail(`the file is truncated: ${what} has ${length} bytes, but only ${left} are left`);
    this.position += length;
    return this.position;
  }

  private fail(problem: string): never {
    throw new ImageError({ ...this.place }, '', problem);
  }
}

function kindNameOfMagic(magic: number): string | undefined {
  return findKind(magic)?.magicName;
}

function findKind(magic: number): FramedKind | undefined {
  for (const kind of Object.values<ImageKind>(IMAGE_KINDS)) {
    if (kind.layout !== 'raw' && kind.magic === magic) return kind;
  }
  return undefined;
}

/**
 * The kind of an image by its magic, for programs that are given any file (crit); undefined when it has none we know.
 * Kinds that share a magic (pagemap and pagemap-shmem) have the same layout; the first one is returned.
 */
export function detectImageKind(bytes: Uint8Array): Exclude<ImageKindName, RawKindName> | undefined {
  if (bytes.length < 4) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const first = view.getUint32(0, true);
  const isFramed = (first === IMG_COMMON_MAGIC || first === IMG_SERVICE_MAGIC) && bytes.length >= 8;
  const kind = findKind(isFramed ? view.getUint32(4, true) : first);
  const name = Object.entries<ImageKind>(IMAGE_KINDS).find(([, spec]) => spec === kind)?.[0];
  return name as Exclude<ImageKindName, RawKindName> | undefined;
}

type RawKindName = { [K in ImageKindName]: (typeof IMAGE_KINDS)[K] extends RawKind ? K : never }[ImageKindName];
