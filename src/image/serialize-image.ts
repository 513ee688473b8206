/** Content → image files as bytes: magic words, a 32-bit size before each message, raw payloads (version 1.1). Pure. */
import { encodeTo } from './codec.ts';
import { GhostChunkEntry } from './gen/ghost-file.ts';
import { IpcMsg } from './gen/ipc-msg.ts';
import { PagemapHead } from './gen/pagemap.ts';
import { FieldPath, ImageError } from './image-error.ts';
import { IPC_MSG_ALIGNMENT } from './image-file.ts';
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
  type WithPayload,
} from './image-kinds.ts';
import { MANY_MESSAGES, manyEncoder } from './many-encoder.ts';
import type { MessageType } from './message-type.ts';
import { WireWriter } from './wire-writer.ts';

/** The bytes of an image (version 1.1). Throws an ImageError when a value cannot be stored. */
export function serializeImage<K extends ImageKindName>(kind: K, content: ContentOf<K>, fileName?: string): Uint8Array {
  const bytes: Uint8Array[] = [];
  serializeInParts(kind, content, fileName, new WireWriter(INITIAL_BYTES), (part) => bytes.push(part.slice()));
  return new Uint8Array(Buffer.concat(bytes));
}

type TakePart = (part: Uint8Array) => void;

/** The same in parts: views of `writer`, which is overwritten. A long image takes no more memory than a short one. */
export function serializeInParts<K extends ImageKindName>(
  kind: K,
  content: ContentOf<K>,
  fileName: string | undefined,
  writer: WireWriter,
  take: TakePart,
): void {
  const spec: ImageKind = IMAGE_KINDS[kind];
  const builder = spec.layout === 'raw' ? undefined : new ImageBuilder(spec, fileName ?? spec.fileName, writer, take);
  if (spec.layout === 'pagemap') builder?.pagemap(content as Pagemap);
  else if (spec.layout === 'ghost-file') builder?.ghostFile(content as GhostFile);
  else builder?.elements(content as unknown[]);
  take(builder?.written ?? (content as Uint8Array));
}

/** The same for one message that has been encoded; for images that are a list. */
export function wrapEncoded(kind: ListKindName, message: Uint8Array, writer: WireWriter): Uint8Array {
  writer.length = 0;
  writer.rawUint32(IMG_COMMON_MAGIC);
  writer.rawUint32(IMAGE_KINDS[kind].magic);
  writer.rawUint32(message.length);
  writer.raw(message);
  return writer.written;
}

const INITIAL_BYTES = 1024;
/** A list image is written out whenever so much of it is ready; it fits the processor's cache. */
export const PART_BYTES = 1 << 18;

/** Builds an image that is a list, element by element; `take` hands over what is ready. */
export class ImageWriter<K extends ListKindName> {
  private readonly builder: ImageBuilder;

  constructor(kind: K, fileName?: string) {
    const spec: FramedKind = IMAGE_KINDS[kind];
    this.builder = new ImageBuilder(spec, fileName ?? spec.fileName);
  }

  add(element: ElementOf<K>): void {
    this.builder.element(element);
  }

  /** Bytes built and not yet taken. */
  get pendingBytes(): number {
    return this.builder.pendingBytes;
  }

  /** The bytes built since the last call; the first ones begin with the magic. */
  take(): Uint8Array {
    return this.builder.take();
  }
}

class ImageBuilder {
  private readonly spec: FramedKind;
  private readonly fileName: string;
  private writer: WireWriter;
  private readonly takePart: TakePart | undefined;
  private entry = 0;
  private readonly place: { readonly file: string; entry: number };
  private readonly path: FieldPath;

  /** `takePart` gets parts of long lists. */
  constructor(spec: FramedKind, fileName: string, writer = new WireWriter(INITIAL_BYTES), takePart?: TakePart) {
    this.spec = spec;
    this.writer = writer;
    this.takePart = takePart;
    writer.length = 0;
    this.fileName = fileName;
    this.place = { file: fileName, entry: 0 };
    this.path = new FieldPath(this.place);
    if (spec.magicName !== 'INVENTORY') this.writer.rawUint32(spec.isService ? IMG_SERVICE_MAGIC : IMG_COMMON_MAGIC);
    this.writer.rawUint32(spec.magic);
  }

  get pendingBytes(): number {
    return this.writer.length;
  }

  get written(): Uint8Array {
    return this.writer.written;
  }

  take(): Uint8Array {
    const { written } = this;
    this.writer = new WireWriter(INITIAL_BYTES);
    return written;
  }

  /** Messages without payload are encoded by a function of their own when there are many. */
  elements(elements: readonly unknown[]): void {
    const { type, layout } = this.spec;
    const isMany = elements.length >= MANY_MESSAGES && (layout === 'entries' || layout === 'pagemap');
    const encodeMany = isMany ? manyEncoder(type, { sizeBytes: 4 }) : undefined;
    for (let i = 0; i < elements.length; ) {
      const next = encodeMany?.(elements, i, this.writer, PART_BYTES) ?? i;
      this.entry += next - i;
      i = next;
      if (this.takePart !== undefined && this.writer.length >= PART_BYTES) {
        this.takePart(this.writer.written);
        this.writer.length = 0;
      } else if (i < elements.length) this.element(elements[i++]);
    }
  }

  element(element: unknown): void {
    const { spec } = this;
    if (spec.layout === 'entries' || spec.layout === 'pagemap') this.message(spec.type, element);
    else if (spec.layout === 'payload') {
      const { message, payload } = element as WithPayload<unknown>;
      this.message(spec.type, message);
      this.payload(payload, spec.payloadLength(message), spec.alignment);
    } else if (spec.layout === 'ipc-msg') this.queue(spec.type, element as IpcMessageQueue);
  }

  pagemap({ head, entries }: Pagemap): void {
    this.message(PagemapHead, head);
    this.elements(entries);
  }

  ghostFile({ message, payload, chunks }: GhostFile): void {
    this.message(this.spec.type, message);
    if (message.chunks !== true) this.writer.raw(payload ?? new Uint8Array());
    for (const chunk of chunks ?? []) {
      this.message(GhostChunkEntry, chunk.message);
      this.payload(chunk.payload, chunk.message.len, 1);
    }
  }

  private queue(type: MessageType<unknown>, { message, messages }: IpcMessageQueue): void {
    this.message(type, message);
    if (messages.length !== message.qnum) this.fail(`${messages.length} messages where qnum is ${message.qnum}`);
    for (const { message: ipcMsg, payload } of messages) {
      this.message(IpcMsg, ipcMsg);
      this.payload(payload, ipcMsg.msize, IPC_MSG_ALIGNMENT);
    }
  }

  private message<T>(type: MessageType<T>, message: T): void {
    const { writer } = this;
    const start = writer.length;
    writer.rawUint32(0);
    this.place.entry = this.entry;
    encodeTo(type, message, writer, this.path);
    writer.putRawUint32(start, writer.length - start - 4);
    this.entry++;
  }

  private payload(payload: Uint8Array, length: number, alignment: number): void {
    if (payload.length !== length) this.fail(`${payload.length} bytes of data where the entry says ${length}`);
    this.writer.raw(payload);
    this.writer.zeros(Math.ceil(length / alignment) * alignment - length);
  }

  private fail(problem: string): never {
    throw new ImageError({ file: this.fileName, entry: this.entry - 1 }, '', problem);
  }
}
