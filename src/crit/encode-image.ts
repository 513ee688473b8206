/**
 * JSON back to an image. Entries are written as they are read, so that an image of any length needs no more memory than
 * its biggest entry.
 */
import { CriuError } from '../base/errors.ts';
import { encode } from '../image/codec.ts';
import { GhostChunkEntry, type GhostFileEntry } from '../image/gen/ghost-file.ts';
import { IpcMsg, type IpcMsgEntry } from '../image/gen/ipc-msg.ts';
import { PagemapHead } from '../image/gen/pagemap.ts';
import type { TcpStreamEntry } from '../image/gen/tcp-stream.ts';
import { ImageError } from '../image/image-error.ts';
import { IPC_MSG_ALIGNMENT } from '../image/image-file.ts';
import {
  IMAGE_KINDS,
  IMAGES_V1,
  IMG_COMMON_MAGIC,
  IMG_SERVICE_MAGIC,
  type ImageKind,
  type PayloadKind,
} from '../image/image-kinds.ts';
import type { MessageType } from '../image/message-type.ts';
import type { ByteSink, ByteSource } from './byte-stream.ts';
import { VERSION_KEY } from './decode-image.ts';
import type { FramedKind } from './image-stream.ts';
import { JsonReader } from './json-reader.ts';
import { isJsonObject, type JsonObject, type JsonValue, setMember } from './json-value.ts';
import { messageFromJson } from './message-json.ts';
import { NLMSG_ALIGNMENT, netlinkMagicOf, tryNetlinkMessage } from './netlink-image.ts';
import { tryDecodeBase64 } from './text-codings.ts';

export interface EncodeOptions {
  /** Told about what is left out, in words. */
  readonly warn: (text: string) => void;
}

/** Throws a CriuError that names the place in the JSON, or entry and field; what was written so far is not complete. */
export function encodeImage(source: ByteSource, file: string, sink: ByteSink, options: EncodeOptions): void {
  const json = new JsonReader(source, file);
  let encoder: Encoder | NetlinkEncoder | undefined;
  let version: JsonValue | undefined;
  /** Entries that came before the magic. */
  let waiting: JsonValue | undefined;
  let magic: string | undefined;
  for (const key of json.members()) {
    if (key === 'entries' && magic !== undefined) {
      encoder = encoderOf(magic, version === IMAGES_V1, file, sink, options);
      for (const _ of json.elements()) encoder.read(json);
    } else {
      const value = json.value();
      if (key === 'entries') waiting = value;
      else if (key === 'magic' && typeof value === 'string') magic = value;
      else if (key === VERSION_KEY) version = value;
      else options.warn(`${file}: ${key} is not a part of an image; it is left out`);
    }
  }
  json.end();
  if (magic === undefined) throw new CriuError({ object: file, action: 'the JSON has no magic' });
  if (encoder === undefined) {
    if (!Array.isArray(waiting)) throw new CriuError({ object: file, action: 'the JSON has no list of entries' });
    encoder = encoderOf(magic, version === IMAGES_V1, file, sink, options);
    for (const entry of waiting) encoder.entry(entry);
  }
  encoder.end();
}

function encoderOf(magic: string, isVersion1: boolean, file: string, sink: ByteSink, options: EncodeOptions) {
  const netlinkMagic = netlinkMagicOf(magic);
  if (netlinkMagic !== undefined) return new NetlinkEncoder(netlinkMagic, file, sink);
  return new Encoder(kindOf(magic, file), isVersion1, file, sink, options);
}

/** Saved netlink messages. */
class NetlinkEncoder {
  private readonly file: string;
  private readonly sink: ByteSink;
  private index = 0;

  constructor(magic: number, file: string, sink: ByteSink) {
    this.file = file;
    this.sink = sink;
    sink.write(wordBytes(magic));
  }

  read(json: JsonReader): void {
    this.entry(json.value());
  }

  entry(value: JsonValue): void {
    const extra = isJsonObject(value) ? (value['extra'] ?? '') : undefined;
    const payload = typeof extra === 'string' ? tryDecodeBase64(extra) : undefined;
    const message = payload === undefined ? undefined : tryNetlinkMessage(value, payload);
    if (message === undefined)
      throw new ImageError({ file: this.file, entry: this.index }, '', 'this is no netlink message');
    this.sink.write(message);
    this.sink.write(new Uint8Array(-message.length & (NLMSG_ALIGNMENT - 1)));
    this.index++;
  }

  end(): void {
    // Everything is written already.
  }
}

function kindOf(magic: string, file: string): FramedKind {
  for (const kind of Object.values<ImageKind>(IMAGE_KINDS)) {
    if (kind.layout !== 'raw' && kind.magicName === magic) return kind;
  }
  throw new CriuError({ object: file, action: `there is no image with the magic ${JSON.stringify(magic)}` });
}

/** What follows an entry: a list of arrays is base64 that is decoded already. */
type Extra = JsonValue | Uint8Array[] | undefined;

function isDecoded(extra: Extra): extra is Uint8Array[] {
  return Array.isArray(extra) && extra[0] instanceof Uint8Array;
}

function wordBytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

const FLUSH_BYTES = 1 << 16;

class Encoder {
  private readonly spec: FramedKind;
  private readonly file: string;
  private readonly sink: ByteSink;
  private readonly options: EncodeOptions;
  private pieces: Uint8Array[] = [];
  private pendingBytes = 0;
  private index = 0;
  /** What the entries of the image are: after the first one of some kinds they are others. */
  private type: MessageType<unknown>;
  private isChunked = false;

  constructor(spec: FramedKind, isVersion1: boolean, file: string, sink: ByteSink, options: EncodeOptions) {
    this.spec = spec;
    this.file = file;
    this.sink = sink;
    this.options = options;
    this.type = spec.layout === 'pagemap' ? PagemapHead : spec.type;
    if (!isVersion1 && spec.magicName !== 'INVENTORY') {
      this.word(spec.isService ? IMG_SERVICE_MAGIC : IMG_COMMON_MAGIC);
    }
    this.word(spec.magic);
  }

  /** Reads and writes an entry. The data that follow it may be too much for a text. */
  read(json: JsonReader): void {
    if (!json.isAtObject) throw this.error('', 'this is not an object');
    const fields: JsonObject = {};
    let extra: Extra;
    for (const key of json.members()) {
      if (key !== 'extra') setMember(fields, key, json.value());
      else if (json.isAtString) extra = json.base64() ?? 'not base64';
      else extra = json.value();
    }
    this.parts(fields, extra);
  }

  entry(value: JsonValue): void {
    if (!isJsonObject(value)) throw this.error('', 'this is not an object');
    const { extra, ...fields } = value;
    this.parts(fields, extra);
  }

  private parts(fields: JsonObject, extra: Extra): void {
    const { spec } = this;
    const message = this.message(this.type, fields);
    if (spec.layout === 'payload') this.payload(spec, message, extra);
    else if (spec.layout === 'ipc-msg') this.queue(message as IpcMsgEntry, extra);
    else if (spec.layout === 'ghost-file') this.ghostPart(message, extra);
    else if (extra !== undefined)
      this.options.warn(`${this.file}: entry ${this.index}: extra is not a field; it is left out`);
    if (spec.layout === 'pagemap') this.type = spec.type;
    this.index++;
    if (this.pendingBytes >= FLUSH_BYTES) this.flush();
  }

  end(): void {
    const needsHead = this.spec.layout === 'pagemap' || this.spec.layout === 'ghost-file';
    if (needsHead && this.index === 0) throw new CriuError({ object: this.file, action: 'the JSON has no entries' });
    this.flush();
  }

  private message(type: MessageType<unknown>, fields: JsonObject): unknown {
    const place = { file: this.file, entry: this.index };
    const message = messageFromJson(type, fields, {
      place,
      onUnknownKey: (path) =>
        this.options.warn(`${this.file}: entry ${this.index}: ${path} is not a field; it is left out`),
    });
    const bytes = encode(type, message, place);
    this.word(bytes.length);
    this.put(bytes);
    return message;
  }

  private payload(spec: PayloadKind<unknown>, message: unknown, extra: Extra): void {
    const length = spec.payloadLength(message);
    if (spec.magicName === 'TCP_STREAM') this.tcpQueues(message as TcpStreamEntry, extra);
    else if (spec.magicName === 'IPCNS_SEM') this.padded([this.semaphores(extra)], length, spec.alignment);
    else this.padded(this.bytes(extra, 'extra'), length, spec.alignment);
  }

  private tcpQueues({ inq_len, outq_len }: TcpStreamEntry, extra: Extra): void {
    const queues = isDecoded(extra) || !isJsonObject(extra) ? {} : extra;
    this.padded(this.bytes(queues['inq'], 'extra.inq'), inq_len, 1);
    this.padded(this.bytes(queues['outq'], 'extra.outq'), outq_len, 1);
  }

  private semaphores(extra: Extra): Uint8Array {
    const values = extra === undefined ? [] : extra;
    if (!Array.isArray(values) || isDecoded(values)) return this.fail('extra', 'this is not a list of values');
    const bytes = Buffer.alloc(values.length * 2);
    for (const [index, value] of values.entries()) {
      if (typeof value !== 'number' || value < 0 || value > 0xffff)
        this.fail(`extra[${index}]`, 'this is not a value of a semaphore');
      else bytes.writeUInt16LE(value, index * 2);
    }
    return bytes;
  }

  private queue({ qnum }: IpcMsgEntry, extra: Extra): void {
    const parts = Array.isArray(extra) && !isDecoded(extra) ? extra : [];
    if (parts.length !== qnum * 2) this.fail('extra', `${parts.length / 2} messages where qnum is ${qnum}`);
    for (let index = 0; index < parts.length; index += 2) {
      const fields = parts[index];
      if (!isJsonObject(fields)) throw this.error(`extra[${index}]`, 'this is not a message');
      const { msize } = this.message(IpcMsg, fields) as IpcMsg;
      this.padded(this.bytes(parts[index + 1], `extra[${index + 1}]`), msize, IPC_MSG_ALIGNMENT);
    }
  }

  private ghostPart(message: unknown, extra: Extra): void {
    if (this.index > 0) {
      if (!this.isChunked) this.fail('', 'only a ghost file with chunks has more than one entry');
      this.padded(this.bytes(extra, 'extra'), (message as GhostChunkEntry).len, 1);
      return;
    }
    this.isChunked = (message as GhostFileEntry).chunks === true;
    if (!this.isChunked) for (const piece of this.bytes(extra, 'extra')) this.put(piece);
    this.type = GhostChunkEntry;
  }

  private padded(pieces: readonly Uint8Array[], length: number, alignment: number): void {
    const given = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (given !== length) this.fail('extra', `${given} bytes of data where the entry says ${length}`);
    for (const piece of pieces) this.put(piece);
    this.put(new Uint8Array(Math.ceil(length / alignment) * alignment - length));
  }

  /** Nothing is as good as an empty text. */
  private bytes(value: Extra, field: string): readonly Uint8Array[] {
    if (value === undefined) return [];
    if (isDecoded(value)) return value;
    const bytes = typeof value === 'string' ? tryDecodeBase64(value) : undefined;
    return bytes === undefined ? this.fail(field, 'this is not base64') : [bytes];
  }

  private word(value: number): void {
    this.put(wordBytes(value));
  }

  private put(bytes: Uint8Array): void {
    this.pieces.push(bytes);
    this.pendingBytes += bytes.length;
  }

  private flush(): void {
    for (const piece of this.pieces) this.sink.write(piece);
    this.pieces = [];
    this.pendingBytes = 0;
  }

  private fail(field: string, problem: string): never {
    throw this.error(field, problem);
  }

  private error(field: string, problem: string): ImageError {
    return new ImageError({ file: this.file, entry: this.index }, field, problem);
  }
}
