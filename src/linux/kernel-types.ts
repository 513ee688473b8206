/**
 * Where the members of the kernel's structures are, as the kernel itself tells: BTF, the types of vmlinux
 * (Documentation/bpf/btf.rst). Kernels of distributions have it (CONFIG_DEBUG_INFO_BTF). Parsing is pure.
 */
import { CriuError } from '../base/errors.ts';
import { tryReadFileBytes } from './syscalls/fs.ts';

const BTF_FILE = '/sys/kernel/btf/vmlinux';
const MAGIC = 0xeb9f;
/** struct btf_header. */
const HEADER_BYTES = 24;
/** struct btf_type and struct btf_member. */
const TYPE_BYTES = 12;
const MEMBER_BYTES = 12;

const KIND_STRUCT = 4;
const KIND_UNION = 5;
/** By kind: bytes that follow a type once, and for each of its members. */
const ONCE: Readonly<Record<number, number>> = { 1: 4, 3: 12, 14: 4, 17: 4 };
const EACH: Readonly<Record<number, number>> = { 4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12 };

/** A structure and its member. */
export type MemberPath = `${string}.${string}`;

export class KernelTypes {
  readonly #view: DataView;
  readonly #strings: Buffer;
  /** Where each type begins, by id less one. */
  readonly #types: number[] = [];
  readonly #offsets = new Map<MemberPath, number | undefined>();
  readonly #structs = new Map<string, number>();

  /** Throws CriuError for bytes that are no BTF. */
  constructor(bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = view;
    if (bytes.length < HEADER_BYTES || view.getUint16(0, true) !== MAGIC) throw unclear('it does not begin as BTF');
    const [header = 0, typeStart = 0, typeBytes = 0, stringStart = 0, stringBytes = 0] = [4, 8, 12, 16, 20].map((at) =>
      view.getUint32(at, true),
    );
    const start = header + typeStart;
    const end = start + typeBytes;
    if (end > bytes.length || header + stringStart + stringBytes > bytes.length) throw unclear('it is cut off');
    this.#strings = Buffer.from(bytes.buffer, bytes.byteOffset + header + stringStart, stringBytes);
    for (let at = start; at + TYPE_BYTES <= end; ) {
      this.#types.push(at);
      const info = view.getUint32(at + 4, true);
      const kind = (info >> 24) & 0x1f;
      at += TYPE_BYTES + (ONCE[kind] ?? 0) + (EACH[kind] ?? 0) * (info & 0xffff);
    }
  }

  /** Undefined where the kernel does not tell. */
  static tryRead(): KernelTypes | undefined {
    const bytes = tryReadFileBytes(BTF_FILE);
    return typeof bytes === 'number' ? undefined : new KernelTypes(bytes);
  }

  /** The offset of a member in bytes, through anonymous structures and unions. Throws CriuError. */
  offset(path: MemberPath): number {
    const offset = this.#offset(path);
    if (offset === undefined) throw unclear(`it has no ${path}`);
    return offset;
  }

  /** Whether there is that member. Throws CriuError when there is no such structure. */
  has(path: MemberPath): boolean {
    return this.#offset(path) !== undefined;
  }

  #offset(path: MemberPath): number | undefined {
    if (!this.#offsets.has(path)) this.#offsets.set(path, this.#search(path));
    return this.#offsets.get(path);
  }

  #search(path: MemberPath): number | undefined {
    const [struct = '', member = ''] = path.split('.');
    const name = this.#tryName(member);
    const bits = name === undefined ? undefined : this.#find(this.#struct(struct), name, 0);
    return bits === undefined ? undefined : bits / 8;
  }

  /** sizeof(struct name). Throws CriuError. */
  size(name: string): number {
    return this.#view.getUint32(this.#struct(name) + 8, true);
  }

  #struct(name: string): number {
    const known = this.#structs.get(name);
    if (known !== undefined) return known;
    const wanted = this.#tryName(name);
    const view = this.#view;
    for (const at of wanted === undefined ? [] : this.#types) {
      if (view.getUint32(at, true) !== wanted || ((view.getUint32(at + 4, true) >> 24) & 0x1f) !== KIND_STRUCT)
        continue;
      this.#structs.set(name, at);
      return at;
    }
    throw unclear(`it has no struct ${name}`);
  }

  /** In bits. */
  #find(struct: number, wanted: number, depth: number): number | undefined {
    const view = this.#view;
    const info = view.getUint32(struct + 4, true);
    // With bit fields, the upper byte of an offset is a width.
    const mask = info >>> 31 === 1 ? 0xff_ffff : 0xffff_ffff;
    const count = info & 0xffff;
    for (
      let i = 0, at = struct + TYPE_BYTES;
      i < count && at + MEMBER_BYTES <= view.byteLength;
      i++, at += MEMBER_BYTES
    ) {
      const [name, type] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
      const bits = (view.getUint32(at + 8, true) & mask) >>> 0;
      if (name === wanted) return bits;
      const inner = this.#types[type - 1];
      if (name !== 0 || inner === undefined || depth > DEPTH_MAX) continue;
      const kind = (view.getUint32(inner + 4, true) >> 24) & 0x1f;
      if (kind !== KIND_STRUCT && kind !== KIND_UNION) continue;
      const found = this.#find(inner, wanted, depth + 1);
      if (found !== undefined) return bits + found;
    }
    return undefined;
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
