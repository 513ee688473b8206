/**
 * Where the members of the kernel's structures are, as the kernel itself tells: BTF, the types of vmlinux
 * (Documentation/bpf/btf.rst). Kernels of distributions have it (CONFIG_DEBUG_INFO_BTF). Parsing is pure.
 */

import { CriuError } from '../base/errors.ts';
import { perRun } from '../base/per-run.ts';
import { O_RDONLY } from './abi/fcntl.ts';
import { MAP_PRIVATE, PROT_READ } from './abi/mman.ts';
import { SYS } from './abi/syscall-numbers.ts';
import { memoryAt, syscall } from './kernel.ts';
import { close, fstat, tryOpen, tryReadAll } from './syscalls/fs.ts';
import { munmap } from './syscalls/mm.ts';

const BTF_FILE = '/sys/kernel/btf/vmlinux';
const MAGIC = 0xeb9f;
/** struct btf_header. */
const HEADER_BYTES = 24;
/** struct btf_type and struct btf_member, in words of 32 bits. */
const TYPE_WORDS = 3;
const MEMBER_WORDS = 3;

/* btf_type.info. */
const COUNT_MASK = 0xffff;
const kindOf = (info: number): number => (info >>> 24) & 0x1f;
const KIND_STRUCT = 4;
const KIND_UNION = 5;
/** By kind: words that follow a type once, and for each of its members. */
const ONCE: readonly number[] = [0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0];
const EACH: readonly number[] = [0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3];

/** A structure and its member. */
export type MemberPath = `${string}.${string}`;

export class KernelTypes {
  /** The types, as words of 32 bits and as bytes. */
  readonly #words: Uint32Array;
  readonly #bytes: Buffer;
  readonly #strings: Buffer;
  /** The word where each type begins, by id less one; as far as somebody has asked. */
  readonly #types: number[] = [];
  #walked = 0;
  readonly #structs = new Map<string, number>();
  readonly #offsets = new Map<MemberPath, number | undefined>();

  /** Throws CriuError for bytes that are no BTF. */
  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < HEADER_BYTES || view.getUint16(0, true) !== MAGIC) throw unclear('it does not begin as BTF');
    const [header = 0, typeStart = 0, typeBytes = 0, stringStart = 0, stringBytes = 0] = [4, 8, 12, 16, 20].map((at) =>
      view.getUint32(at, true),
    );
    const ends = [header + typeStart + typeBytes, header + stringStart + stringBytes];
    if (ends.some((end) => end > bytes.length)) throw unclear('it is cut off');
    const start = bytes.byteOffset + header;
    if ((start + typeStart) % 4 !== 0) throw unclear('it is not aligned');
    this.#words = new Uint32Array(bytes.buffer, start + typeStart, typeBytes >> 2);
    this.#bytes = Buffer.from(bytes.buffer, start + typeStart, typeBytes);
    this.#strings = Buffer.from(bytes.buffer, start + stringStart, stringBytes);
  }

  /** Those of the kernel that runs, read once. Undefined where it does not tell. */
  static tryRead(): KernelTypes | undefined {
    return ofKernel()?.types;
  }

  /** The offset of a member in bytes, through anonymous structures and unions. Throws CriuError. */
  offset(path: MemberPath): number {
    const offset = this.#offset(path);
    if (offset === undefined) throw unclear(`it has no ${path}`);
    return offset;
  }

  /** Where a member ends at the latest: at the next one of its structure. Throws CriuError. */
  end(path: MemberPath): number {
    const [struct = ''] = path.split('.');
    const offset = this.offset(path);
    let end = this.size(struct);
    for (const member of this.#memberOffsets(this.#struct(struct))) {
      if (member / 8 > offset && member / 8 < end) end = member / 8;
    }
    return end;
  }

  /** Whether there is that member. Throws CriuError when there is no such structure. */
  has(path: MemberPath): boolean {
    return this.#offset(path) !== undefined;
  }

  /** The names of all members of a structure, in order, those of anonymous structures too. Throws CriuError. */
  members(struct: string): string[] {
    return this.#names(this.#struct(struct), 0);
  }

  #names(struct: number, depth: number): string[] {
    const words = this.#words;
    const names: string[] = [];
    for (let i = 0; i < this.#memberOffsets(struct).length; i++) {
      const at = struct + TYPE_WORDS + i * MEMBER_WORDS;
      const name = words[at] ?? 0;
      const inner = name === 0 ? this.#anonymous(words[at + 1] ?? 0, depth) : undefined;
      if (inner !== undefined) names.push(...this.#names(inner, depth + 1));
      else names.push(this.#strings.toString('latin1', name, this.#strings.indexOf(0, name)));
    }
    return names;
  }

  /** Where an anonymous structure or union begins, by the number of its type. */
  #anonymous(id: number, depth: number): number | undefined {
    const at = depth < DEPTH_MAX ? this.#typeOf(id) : undefined;
    const kind = at === undefined ? 0 : kindOf(this.#words[at + 1] ?? 0);
    return kind === KIND_STRUCT || kind === KIND_UNION ? at : undefined;
  }

  #offset(path: MemberPath): number | undefined {
    if (!this.#offsets.has(path)) this.#offsets.set(path, this.#search(path));
    return this.#offsets.get(path);
  }

  #search(path: MemberPath): number | undefined {
    const [struct = '', member = ''] = path.split('.');
    const bits = this.#find(this.#struct(struct), Buffer.from(`${member}\0`), 0);
    return bits === undefined ? undefined : bits / 8;
  }

  /** sizeof(struct name). Throws CriuError. */
  size(name: string): number {
    return this.#words[this.#struct(name) + 2] ?? 0;
  }

  /** Where a structure begins. */
  #struct(name: string): number {
    const at = this.#structs.get(name) ?? this.#tryFind(name, KIND_STRUCT);
    if (at === undefined) throw unclear(`it has no struct ${name}`);
    this.#structs.set(name, at);
    return at;
  }

  /** Where the type of that name and kind begins. */
  #tryFind(name: string, kind: number): number | undefined {
    const wanted = this.#tryName(name);
    if (wanted === undefined) return undefined;
    const pattern = Buffer.from(Uint32Array.of(wanted).buffer);
    const bytes = this.#bytes;
    for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + 1)) {
      // The name of a member is followed by the number of its type, which is smaller.
      if (at % 4 === 0 && kindOf(this.#words[at / 4 + 1] ?? 0) === kind) return at / 4;
    }
    return undefined;
  }

  /** Where the type of that number begins. */
  #typeOf(id: number): number | undefined {
    const words = this.#words;
    while (this.#types.length < id && this.#walked + TYPE_WORDS <= words.length) {
      this.#types.push(this.#walked);
      // As a word with a sign, for the highest bit is a flag: code for integers is left when a number is above them.
      const info = (words[this.#walked + 1] as number) | 0;
      const kind = kindOf(info);
      this.#walked += TYPE_WORDS + (ONCE[kind] ?? 0) + (EACH[kind] ?? 0) * (info & COUNT_MASK);
    }
    return this.#types[id - 1];
  }

  /** In bits. `wanted`: the name with the byte that ends it. */
  #find(struct: number, wanted: Buffer, depth: number): number | undefined {
    const words = this.#words;
    const offsets = this.#memberOffsets(struct);
    const first = struct + TYPE_WORDS;
    for (let i = 0; i < offsets.length; i++) {
      if (this.#isName(words[first + i * MEMBER_WORDS] ?? 0, wanted)) return offsets[i];
    }
    // Where types are by their number takes long to find out, so what has a name comes first.
    for (let i = 0; i < offsets.length; i++) {
      const at = first + i * MEMBER_WORDS;
      const inner = words[at] === 0 ? this.#anonymous(words[at + 1] ?? 0, depth) : undefined;
      if (inner === undefined) continue;
      const found = this.#find(inner, wanted, depth + 1);
      if (found !== undefined) return (offsets[i] ?? 0) + found;
    }
    return undefined;
  }

  /** In bits. */
  #memberOffsets(struct: number): number[] {
    const words = this.#words;
    const info = words[struct + 1] ?? 0;
    // With bit fields, the upper byte of an offset is a width.
    const mask = info >>> 31 === 1 ? 0xff_ffff : 0xffff_ffff;
    const end = Math.min(struct + TYPE_WORDS + (info & COUNT_MASK) * MEMBER_WORDS, words.length);
    const offsets: number[] = [];
    for (let at = struct + TYPE_WORDS; at < end; at += MEMBER_WORDS) offsets.push(((words[at + 2] ?? 0) & mask) >>> 0);
    return offsets;
  }

  /** Names are mostly told apart by their first character. */
  #isName(at: number, wanted: Buffer): boolean {
    const strings = this.#strings;
    for (let i = 0; i < wanted.length; i++) if (strings[at + i] !== wanted[i]) return false;
    return true;
  }

  #tryName(name: string): number | undefined {
    const at = this.#strings.indexOf(`\0${name}\0`);
    return at < 0 ? undefined : at + 1;
  }
}

/** Anonymous structures in one another. */
const DEPTH_MAX = 8;

const unclear = (why: string) =>
  new CriuError({ object: BTF_FILE, action: 'does not say where the kernel has what is needed', why });

const ofKernel = perRun(tryReadTypes, (read) => {
  if (read?.mapping !== undefined) munmap(read.mapping.address, read.mapping.bytes);
});

interface ReadTypes {
  readonly types: KernelTypes;
  /** Where BTF is mapped; where it can't be, it has been read. */
  readonly mapping?: { readonly address: number; readonly bytes: number };
}

function tryReadTypes(): ReadTypes | undefined {
  const fd = tryOpen(BTF_FILE, O_RDONLY);
  if (fd < 0) return undefined;
  const bytes = fstat(fd).st_size;
  // Since Linux 6.16; a read gives one page at a time. It stays mapped.
  const address = syscall(SYS.mmap, 0, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  if (address > 0) {
    close(fd);
    return { types: new KernelTypes(memoryAt(address, bytes)), mapping: { address, bytes } };
  }
  const content = tryReadAll(fd);
  close(fd);
  return typeof content === 'number' ? undefined : { types: new KernelTypes(content) };
}
