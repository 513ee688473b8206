/**
 * An image as JSON, in the form of CRIU's crit: `{"magic": …, "entries": […]}`. The bytes that follow an entry are its
 * `extra`: base64, or what their kind makes of them.
 *
 * Where CRIU's crit fails we go on: images of kinds it has no handler for, and shared memory whose content is elsewhere.
 * An image of version 1 gets the key `img_version`, so that encode can write it as it was.
 */
import { GhostChunkEntry, type GhostFileEntry } from '../image/gen/ghost-file.ts';
import { IpcMsg, type IpcMsgEntry } from '../image/gen/ipc-msg.ts';
import { PagemapHead } from '../image/gen/pagemap.ts';
import type { TcpStreamEntry } from '../image/gen/tcp-stream.ts';
import { IPC_MSG_ALIGNMENT } from '../image/image-file.ts';
import { IMAGES_V1, type PayloadKind } from '../image/image-kinds.ts';
import type { MessageType } from '../image/message-type.ts';
import type { ByteSink, ByteSource } from './byte-stream.ts';
import { type FramedKind, ImageStream, type NetlinkSpec } from './image-stream.ts';
import { JsonWriter } from './json-writer.ts';
import { messageToJson } from './message-json.ts';
import { NLMSG_ALIGNMENT, netlinkHeaderToJson } from './netlink-image.ts';

export interface DecodeOptions {
  /** Several lines, and some numbers in the form of their field. */
  readonly isPretty: boolean;
  /** Shows the size of what follows an entry instead of its content. */
  readonly hasNoPayload: boolean;
  readonly endsWithNewline: boolean;
}

/** Key for the version of images without the common magic. */
export const VERSION_KEY = 'img_version';

/** Throws a CriuError that names file, entry and field; then what was written to the sink so far is not complete. */
export function decodeImage(source: ByteSource, file: string, sink: ByteSink, options: DecodeOptions): void {
  const stream = new ImageStream(source, file);
  const { spec, isVersion1 } = stream.header();
  const writer = new JsonWriter(sink, options.isPretty ? 4 : 0);
  const decoder = new Decoder(stream, writer, options);
  writer.open('{');
  writer.members({ magic: spec.magicName });
  if (isVersion1) writer.members({ [VERSION_KEY]: IMAGES_V1 });
  writer.key('entries');
  writer.open('[');
  decoder.entries(spec);
  writer.close(']');
  writer.close('}');
  if (options.endsWithNewline) writer.raw('\n');
  writer.flush();
}

class Decoder {
  private readonly stream: ImageStream;
  private readonly writer: JsonWriter;
  private readonly options: DecodeOptions;

  constructor(stream: ImageStream, writer: JsonWriter, options: DecodeOptions) {
    this.stream = stream;
    this.writer = writer;
    this.options = options;
  }

  entries(spec: FramedKind | NetlinkSpec): void {
    const { stream } = this;
    if (spec.layout === 'ghost-file') {
      this.ghostFile(spec.type);
      return;
    }
    if (spec.layout === 'pagemap') this.plain(PagemapHead);
    while (!stream.isAtEnd) {
      if (spec.layout === 'netlink') this.netlinkMessage();
      else if (spec.layout === 'payload') this.withPayload(spec);
      else if (spec.layout === 'ipc-msg') this.queue(spec.type);
      else this.plain(spec.type);
    }
  }

  private netlinkMessage(): void {
    const { stream, writer, options } = this;
    const { header, length } = stream.netlinkHeader();
    writer.open('{');
    writer.members(netlinkHeaderToJson(header, options.isPretty));
    if (options.hasNoPayload) this.sizeOnly(length, () => stream.skipPayload(length, NLMSG_ALIGNMENT));
    else {
      writer.key('extra');
      writer.base64(stream.payload(length, NLMSG_ALIGNMENT));
    }
    writer.close('}');
  }

  private plain(type: MessageType<unknown>): void {
    const message = this.stream.message(type);
    this.writer.value(messageToJson(type, message, this.options.isPretty));
  }

  private withPayload(spec: PayloadKind<unknown>): void {
    const message = this.open(spec.type);
    const length = spec.payloadLength(message);
    if (this.options.hasNoPayload) this.sizeOnly(length, () => this.stream.skipPayload(length, spec.alignment));
    else {
      this.writer.key('extra');
      if (spec.magicName === 'TCP_STREAM') this.tcpQueues(message as TcpStreamEntry);
      else if (spec.magicName === 'IPCNS_SEM') this.semaphores(length, spec.alignment);
      else this.writer.base64(this.stream.payload(length, spec.alignment));
    }
    this.writer.close('}');
  }

  /** The message of an entry; its object stays open. */
  private open<T>(type: MessageType<T>): T {
    const message = this.stream.message(type);
    this.writer.open('{');
    this.writer.members(messageToJson(type, message, this.options.isPretty));
    return message;
  }

  private sizeOnly(bytes: number, skip: () => void): void {
    skip();
    this.writer.members({ extra: `... <${humanSize(bytes)}>` });
  }

  private tcpQueues({ inq_len, outq_len }: TcpStreamEntry): void {
    this.writer.open('{');
    this.writer.key('inq');
    this.writer.base64(this.stream.payload(inq_len, 1));
    this.writer.key('outq');
    this.writer.base64(this.stream.payload(outq_len, 1));
    this.writer.close('}');
  }

  /** 16-bit values. */
  private semaphores(length: number, alignment: number): void {
    const bytes = Buffer.concat([...this.stream.payload(length, alignment)]);
    this.writer.open('[');
    for (let index = 0; index < bytes.length; index += 2) this.writer.value(bytes.readUInt16LE(index));
    this.writer.close(']');
  }

  /** The messages of a queue: in turns the message and its text. They have no pretty form in CRIU's crit. */
  private queue(type: MessageType<IpcMsgEntry>): void {
    const { stream, writer } = this;
    const { qnum } = this.open(type);
    const { hasNoPayload } = this.options;
    let bytes = 0;
    writer.key('extra');
    if (!hasNoPayload) writer.open('[');
    for (let index = 0; index < qnum; index++) {
      const { message, size } = stream.sizedMessage(IpcMsg);
      bytes += size + message.msize;
      if (hasNoPayload) stream.skipPayload(message.msize, IPC_MSG_ALIGNMENT);
      else {
        writer.value(messageToJson(IpcMsg, message, false));
        writer.base64(stream.payload(message.msize, IPC_MSG_ALIGNMENT));
      }
    }
    if (hasNoPayload) writer.value(`... <${humanSize(bytes)}>`);
    else writer.close(']');
    writer.close('}');
  }

  private ghostFile(type: MessageType<GhostFileEntry>): void {
    const { stream, writer, options } = this;
    const head = this.open(type);
    if (head.chunks !== true && !options.hasNoPayload) {
      writer.key('extra');
      writer.base64(stream.rest());
    }
    writer.close('}');
    while (head.chunks === true && !stream.isAtEnd) {
      const { len } = this.open(GhostChunkEntry);
      if (options.hasNoPayload) stream.skipPayload(len, 1);
      else {
        writer.key('extra');
        writer.base64(stream.payload(len, 1));
      }
      writer.close('}');
    }
  }
}

/** "7B", "1.5KB". */
function humanSize(bytes: number): string {
  let size = bytes;
  for (const unit of ['', 'K', 'M', 'G', 'T', 'P', 'E', 'Z']) {
    if (size < 1024) return `${Number.isInteger(size) ? size : size.toFixed(1)}${unit}B`;
    size /= 1024;
  }
  return `${size.toFixed(1)}YB`;
}

export interface ImageInfo {
  readonly magic: string;
  readonly count: number;
}

/** How many entries an image has. Unlike CRIU's crit it counts right where data follows the entries. */
export function readImageInfo(source: ByteSource, file: string): ImageInfo {
  const stream = new ImageStream(source, file);
  const { spec } = stream.header();
  let count = 0;
  if (spec.layout === 'pagemap') stream.skipMessage();
  if (spec.layout === 'ghost-file') {
    const isChunked = stream.message(spec.type).chunks === true;
    if (!isChunked) for (const _ of stream.rest());
    count = 1;
    for (; isChunked && !stream.isAtEnd; count++) stream.skipPayload(stream.message(GhostChunkEntry).len, 1);
  }
  for (; !stream.isAtEnd; count++) {
    if (spec.layout === 'netlink') stream.skipPayload(stream.netlinkHeader().length, NLMSG_ALIGNMENT);
    else if (spec.layout === 'payload') {
      stream.skipPayload(spec.payloadLength(stream.message(spec.type)), spec.alignment);
    } else if (spec.layout === 'ipc-msg') {
      const { qnum } = stream.message(spec.type);
      for (let index = 0; index < qnum; index++) {
        stream.skipPayload(stream.message(IpcMsg).msize, IPC_MSG_ALIGNMENT);
      }
    } else stream.skipMessage();
  }
  return { magic: spec.magicName, count };
}
