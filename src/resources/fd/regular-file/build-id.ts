/**
 * The build id of an ELF file: what distinguishes two builds of a library that have the same size. It is the
 * description of the note NT_GNU_BUILD_ID "GNU" in a PT_NOTE segment (man 5 elf, "Notes").
 */
import { ELF_32, ELF_64, ELF_MAGIC, ELFCLASS32, ELFCLASS64, NT_GNU_BUILD_ID, PT_NOTE } from '../../../linux/abi/elf.ts';

/** Longer ones are not believed, as in CRIU (files-reg.c, 4.2). */
const BUILD_ID_BYTES_MAX = 512;
/** How much of a file is looked at: build ids stand near the beginning. */
export const BUILD_ID_HEAD_BYTES = 1024 * 1024;
/** Mostly this much is enough. */
const BUILD_ID_FIRST_BYTES = 4096;

/**
 * The build id as the image has it: 32-bit words in the file's own byte order, filled up with zeros. None when the file
 * is not ELF, has no build id, or when it is not within `head`, the first bytes of the file.
 *
 * `needed` tells how many bytes have to be in `head` for an answer; an empty id with `needed` above the length of
 * `head` means: ask again with more.
 */
export function parseBuildId(head: Uint8Array): { words: number[]; needed: number } {
  const none = { words: [], needed: 0 };
  if (head.length < ELF_64.header.bytes) return none;
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  if (view.getUint32(0, true) !== ELF_MAGIC) return none;
  const is64 = head[4] === ELFCLASS64;
  if (!is64 && head[4] !== ELFCLASS32) return none;
  let needed = 0;
  for (const { offset, bytes } of noteSegments(view, is64)) {
    needed = Math.max(needed, offset + bytes);
    const id = findNote(view, offset, Math.min(offset + bytes, head.length));
    if (id !== undefined) return { words: toWords(id), needed };
  }
  return { words: [], needed };
}

function noteSegments(view: DataView, is64: boolean): { offset: number; bytes: number }[] {
  const segments: { offset: number; bytes: number }[] = [];
  const { header, segment } = is64 ? ELF_64 : ELF_32;
  const word = (at: number) => (is64 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
  const count = view.getUint16(header.e_phnum, true);
  let at = word(header.e_phoff);
  for (let i = 0; i < count && at + segment.bytes <= view.byteLength; i++, at += segment.bytes) {
    if (view.getUint32(at + segment.p_type, true) !== PT_NOTE) continue;
    const offset = word(at + segment.p_offset);
    const bytes = word(at + segment.p_filesz);
    if (offset > 0) segments.push({ offset, bytes });
  }
  return segments;
}

const NOTE_HEADER_BYTES = 12;
const padded = (bytes: number) => (bytes + 3) & ~3;

function findNote(view: DataView, start: number, end: number): Uint8Array | undefined {
  for (let at = start; at + NOTE_HEADER_BYTES <= end; ) {
    const nameBytes = view.getUint32(at, true);
    const idBytes = view.getUint32(at + 4, true);
    const id = at + NOTE_HEADER_BYTES + padded(nameBytes);
    if (view.getUint32(at + 8, true) === NT_GNU_BUILD_ID) {
      const isUsable = idBytes > 0 && idBytes <= BUILD_ID_BYTES_MAX && id + idBytes <= view.byteLength;
      return isUsable ? new Uint8Array(view.buffer, view.byteOffset + id, idBytes) : undefined;
    }
    const next = id + padded(idBytes);
    if (next <= at) return undefined;
    at = next;
  }
  return undefined;
}

function toWords(id: Uint8Array): number[] {
  const bytes = new Uint8Array(padded(id.length));
  bytes.set(id);
  return [...new Uint32Array(bytes.buffer)];
}

/** The build id of a file of which `read(bytes)` gives the first bytes. */
export function readBuildId(size: number, read: (bytes: number) => Uint8Array): number[] {
  const first = parseBuildId(read(Math.min(size, BUILD_ID_FIRST_BYTES)));
  if (first.words.length > 0 || first.needed <= BUILD_ID_FIRST_BYTES) return first.words;
  return parseBuildId(read(Math.min(size, BUILD_ID_HEAD_BYTES))).words;
}
