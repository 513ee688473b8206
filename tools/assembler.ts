/**
 * A very small x86-64 assembler: just the instructions of the agent and of its ways back.
 *
 * Each method appends one instruction. Jumps name a label and are short (−128 to +127 bytes) unless said otherwise.
 * Encodings: Intel SDM volume 2.
 */
import { assert } from '../src/base/errors.ts';

/** General registers by their number in the encoding. */
export const REGISTER = {
  rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7,
  r8: 8, r9: 9, r10: 10, r11: 11, r12: 12, r13: 13, r14: 14, r15: 15,
} as const; // biome-ignore format: a table

export type Register = keyof typeof REGISTER;

/** A condition of a jump, by the low half of its opcode (0x70 + condition, far: 0x0f 0x80 + condition). */
const CONDITION = { z: 0x4, nz: 0x5, b: 0x2, ae: 0x3, s: 0x8, le: 0xe, always: -1 } as const;

export class Assembler {
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps: { at: number; label: string; isFar: boolean }[] = [];

  get length(): number {
    return this.#bytes.length;
  }

  /** Names the place of the next instruction. */
  label(name: string): this {
    assert(!this.#labels.has(name), `label ${name} is defined once`);
    this.#labels.set(name, this.#bytes.length);
    return this;
  }

  bytes(...bytes: number[]): this {
    this.#bytes.push(...bytes);
    return this;
  }

  /** mov register, [base + offset]: 64 bits. */
  load(target: Register, base: Register, offset: number): this {
    return this.#memory(0x8b, target, base, offset, 8);
  }

  /** mov register, [base + offset]: 32 bits, the upper half becomes 0. */
  load32(target: Register, base: Register, offset: number): this {
    return this.#memory(0x8b, target, base, offset, 4);
  }

  /** mov [base + offset], register: 64 bits. */
  store(base: Register, offset: number, source: Register): this {
    return this.#memory(0x89, source, base, offset, 8);
  }

  /** mov [base + offset], register: the low 32 bits. */
  store32(base: Register, offset: number, source: Register): this {
    return this.#memory(0x89, source, base, offset, 4);
  }

  /** cmp register, [base + offset]: 64 bits. */
  compareMemory(register: Register, base: Register, offset: number): this {
    return this.#memory(0x3b, register, base, offset, 8);
  }

  /** mov target, source: 64 bits. */
  move(target: Register, source: Register): this {
    const [t, s] = [REGISTER[target], REGISTER[source]];
    return this.bytes(0x48 | ((s >> 3) << 2) | (t >> 3), 0x89, 0xc0 | ((s & 7) << 3) | (t & 7));
  }

  /** mov target, imm64. */
  immediate(target: Register, value: number | bigint): this {
    const t = REGISTER[target];
    this.bytes(0x48 | (t >> 3), 0xb8 | (t & 7));
    return this.quad(BigInt(value));
  }

  /** Eight bytes of data, little-endian. */
  quad(value: bigint): this {
    for (let i = 0n; i < 64n; i += 8n) this.#bytes.push(Number((value >> i) & 0xffn));
    return this;
  }

  /** j<condition> label, or jmp label. */
  jump(condition: keyof typeof CONDITION, label: string): this {
    const code = CONDITION[condition];
    this.bytes(code === -1 ? 0xeb : 0x70 | code, 0);
    this.#jumps.push({ at: this.#bytes.length - 1, label, isFar: false });
    return this;
  }

  /** The same with a distance of 32 bits. */
  farJump(condition: keyof typeof CONDITION, label: string): this {
    const code = CONDITION[condition];
    this.bytes(...(code === -1 ? [0xe9] : [0x0f, 0x80 | code]), 0, 0, 0, 0);
    this.#jumps.push({ at: this.#bytes.length - 4, label, isFar: true });
    return this;
  }

  syscall(): this {
    return this.bytes(0x0f, 0x05);
  }

  /** int3: a trap the tracer sees as SIGTRAP. */
  trap(): this {
    return this.bytes(0xcc);
  }

  /** The finished code. Throws (our mistake) when a label is missing or a jump is too far. */
  assemble(): Uint8Array {
    for (const { at, label, isFar } of this.#jumps) {
      const target = this.#labels.get(label);
      assert(target !== undefined, `label ${label} exists`);
      const distance = target - (at + (isFar ? 4 : 1));
      if (isFar) {
        for (let i = 0; i < 4; i++) this.#bytes[at + i] = (distance >> (8 * i)) & 0xff;
        continue;
      }
      assert(distance >= -128 && distance <= 127, `jump to ${label} is short (${distance})`);
      this.#bytes[at] = distance & 0xff;
    }
    return new Uint8Array(this.#bytes);
  }

  #memory(opcode: number, register: Register, base: Register, offset: number, bytes: 4 | 8): this {
    const [r, b] = [REGISTER[register], REGISTER[base]];
    assert((b & 7) !== 4, 'rsp and r12 as base need a SIB byte, which the agent never does');
    assert(offset >= -128 && offset <= 127, 'offset fits a byte');
    const rex = 0x40 | (bytes === 8 ? 8 : 0) | ((r >> 3) << 2) | (b >> 3);
    return this.bytes(rex, opcode, 0x40 | ((r & 7) << 3) | (b & 7), offset & 0xff);
  }
}
