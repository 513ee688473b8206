/**
 * Encoders for what images have thousands of: descriptors, and regular files. They write what the codec would
 * (row-encoders.test.ts), but know the fields by name. A file is copied from the one before, and what differs is patched.
 */
import { UNKNOWN_FIELDS } from './codec.ts';
import { FdinfoEntry, FdTypes, FileEntry } from './gen/fdinfo.ts';
import type { RegFileEntry } from './gen/regfile.ts';
import type { MessageType } from './message-type.ts';
import { isCString } from './scalars.ts';
import type { WireWriter } from './wire-writer.ts';

export interface RowEncoder {
  /** Writes a message; false, and nothing is written, when it is not one of the usual. */
  tryEncode(message: unknown, writer: WireWriter): boolean;
  /** Is told of the messages that the codec has written: to `writer`, from `start` on. */
  learn(message: unknown, writer: WireWriter, start: number): void;
}

/** The encoder for messages of a type, if there is one. */
export function rowEncoderOf(type: MessageType<unknown>): RowEncoder | undefined {
  if (type === FileEntry) return new FileRows();
  return type === FdinfoEntry ? new DescriptorRows() : undefined;
}

const isUint32 = (value: number) => value >>> 0 === value;

/** Fields of fdinfo_entry with their wire type. */
const FDINFO = { id: 1 << 3, flags: 2 << 3, type: 3 << 3, fd: 4 << 3 } as const;

class DescriptorRows implements RowEncoder {
  /** The type that was last found to be one. */
  #type = -1;

  tryEncode(message: FdinfoEntry, writer: WireWriter): boolean {
    const { id, flags, type, fd } = message;
    if (type !== this.#type || !(isUint32(id) && isUint32(flags) && isUint32(fd))) return false;
    if (message.xattr_security_selinux !== undefined || UNKNOWN_FIELDS in message) return false;
    writer.field(FDINFO.id, id, 0);
    writer.field(FDINFO.flags, flags, 0);
    writer.field(FDINFO.type, type, 0);
    writer.field(FDINFO.fd, fd, 0);
    return true;
  }

  learn({ type }: FdinfoEntry): void {
    this.#type = type;
  }
}

/** An entry that was written, and where in it the fields are that may differ in the next one. */
interface Template {
  readonly reg: RegFileEntry;
  readonly writer: WireWriter;
  readonly start: number;
  readonly bytes: number;
  readonly idAt: number;
  readonly ownIdAt: number;
  readonly posAt: number;
  readonly nameAt: number;
  readonly sizeAt: number;
}

class FileRows implements RowEncoder {
  #template: Template | undefined;

  tryEncode(message: FileEntry, writer: WireWriter): boolean {
    const template = this.#template;
    const { id, reg } = message;
    if (template === undefined || template.writer !== writer || reg === undefined || !isUsual(message, reg))
      return false;
    if (!isAlike(reg, template.reg)) return false;
    const start = writer.copy(template.start, template.bytes);
    writer.patch(start + template.idAt, id);
    writer.patch(start + template.ownIdAt, reg.id);
    if (reg.pos !== template.reg.pos) writer.patch(start + template.posAt, Number(reg.pos));
    writer.patchText(start + template.nameAt, reg.name);
    if (reg.size !== template.reg.size) writer.patch(start + template.sizeAt, reg.size ?? 0);
    return true;
  }

  learn(message: FileEntry, writer: WireWriter, start: number): void {
    const { reg } = message;
    this.#template = undefined;
    if (reg === undefined || !isUsual(message, reg)) return;
    const bytes = writer.written.subarray(start);
    // type, id, then the message of the kind.
    const idAt = fieldAt(bytes, 0, 2);
    const inner = skipVarint(bytes, fieldAt(bytes, 0, 3));
    this.#template = {
      reg,
      writer,
      start,
      bytes: bytes.length,
      idAt,
      ownIdAt: fieldAt(bytes, inner, 1),
      posAt: fieldAt(bytes, inner, 3),
      nameAt: skipVarint(bytes, fieldAt(bytes, inner, 6)),
      sizeAt: fieldAt(bytes, inner, 8),
    };
  }
}

/** Where the value of a field of a message is, from byte `at` on; 0 when there is none. All numbers are below 16. */
function fieldAt(bytes: Uint8Array, at: number, field: number): number {
  for (let next = at; next < bytes.length; ) {
    const tag = bytes[next++] ?? 0;
    if (tag >>> 3 === field) return next;
    const end = skipVarint(bytes, next);
    next = (tag & 7) === 0 ? end : end + blockBytes(bytes, next);
  }
  return 0;
}

function skipVarint(bytes: Uint8Array, at: number): number {
  let end = at;
  while ((bytes[end] ?? 0) > 0x7f) end++;
  return end + 1;
}

function blockBytes(bytes: Uint8Array, at: number): number {
  let size = 0;
  for (let next = at, shift = 0; ; next++, shift += 7) {
    size |= ((bytes[next] ?? 0) & 0x7f) << shift;
    if ((bytes[next] ?? 0) <= 0x7f) return size;
  }
}

/** Nothing in it but what a dump writes for every file. */
function isUsual(message: FileEntry, reg: RegFileEntry): boolean {
  return (
    message.type === FdTypes.REG &&
    Object.keys(message).length === KEYS &&
    message.id === reg.id &&
    isUint32(reg.id) &&
    reg.build_id.length === 0 &&
    reg.ext === undefined &&
    reg.checksum === undefined &&
    reg.checksum_config === undefined &&
    reg.checksum_parameter === undefined &&
    !(UNKNOWN_FIELDS in message) &&
    !(UNKNOWN_FIELDS in reg)
  );
}

/** type, id and reg. */
const KEYS = 3;

/** Whether two entries differ in nothing but numbers and names of the same length. */
function isAlike(a: RegFileEntry, b: RegFileEntry): boolean {
  return (
    a.flags === b.flags &&
    a.fown === b.fown &&
    a.mode === b.mode &&
    a.mnt_id === b.mnt_id &&
    typeof a.name === 'string' &&
    a.name.length === b.name.length &&
    isSameLength(a.id, b.id) &&
    (a.pos === b.pos || isSameLength(Number(a.pos), Number(b.pos))) &&
    (a.size === b.size || (a.size !== undefined && b.size !== undefined && isSameLength(a.size, b.size))) &&
    isCString(a.name)
  );
}

/** Whether two numbers take the same number of bytes; only for those below 2^28. */
function isSameLength(a: number, b: number): boolean {
  if ((a | 0) !== a || a < 0) return false;
  if (a < 0x80) return b < 0x80;
  if (a < 0x4000) return b >= 0x80 && b < 0x4000;
  if (a < 0x20_0000) return b >= 0x4000 && b < 0x20_0000;
  return a < 0x1000_0000 && b >= 0x20_0000 && b < 0x1000_0000;
}
