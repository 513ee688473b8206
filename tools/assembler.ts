/**
 * A very small x86-64 assembler: just the instructions of the agent, of its ways back, and of the launcher.
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

export type Condition = keyof typeof CONDITION;

/** Operations on two operands: opcode for register, register; number of the operation for an immediate. */
const OPERATION = {
  add: [0x01, 0],
  or: [0x09, 1],
  and: [0x21, 4],
  sub: [0x29, 5],
  xor: [0x31, 6],
  cmp: [0x39, 7],
} as const;

type Operation = keyof typeof OPERATION;

const int32 = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff];

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

  /** mov target, imm32: 64 bits, the upper half becomes 0. */
  small(target: Register, value: number): this {
    const t = REGISTER[target];
    return this.#extended(t).bytes(0xb8 | (t & 7), ...int32(value));
  }

  /** <operation> target, source: 64 bits. */
  operate(operation: Operation, target: Register, source: Register): this {
    const [t, s] = [REGISTER[target], REGISTER[source]];
    return this.bytes(0x48 | ((s >> 3) << 2) | (t >> 3), OPERATION[operation][0], 0xc0 | ((s & 7) << 3) | (t & 7));
  }

  /** <operation> target, imm32 with its sign: 64 bits. */
  operateWith(operation: Operation, target: Register, value: number): this {
    const t = REGISTER[target];
    return this.bytes(0x48 | (t >> 3), 0x81, 0xc0 | (OPERATION[operation][1] << 3) | (t & 7), ...int32(value));
  }

  /** test register, register: 64 bits. */
  test(register: Register): this {
    const r = REGISTER[register];
    return this.bytes(0x48 | ((r >> 3) << 2) | (r >> 3), 0x85, 0xc0 | ((r & 7) << 3) | (r & 7));
  }

  /** neg register: 64 bits. */
  negate(register: Register): this {
    const r = REGISTER[register];
    return this.bytes(0x48 | (r >> 3), 0xf7, 0xd8 | (r & 7));
  }

  /** add register, [base + offset]: 64 bits. */
  addMemory(register: Register, base: Register, offset: number): this {
    return this.#memory(0x03, register, base, offset, 8);
  }

  /** add [base + offset], register: 64 bits. */
  addToMemory(base: Register, offset: number, register: Register): this {
    return this.#memory(0x01, register, base, offset, 8);
  }

  /** shl register, count: 64 bits. */
  shiftLeft(register: Register, count: number): this {
    const r = REGISTER[register];
    return this.bytes(0x48 | (r >> 3), 0xc1, 0xe0 | (r & 7), count);
  }

  /** shr register, count: 64 bits. */
  shiftRight(register: Register, count: number): this {
    const r = REGISTER[register];
    return this.bytes(0x48 | (r >> 3), 0xc1, 0xe8 | (r & 7), count);
  }

  /** jmp register. */
  jumpTo(register: Register): this {
    const r = REGISTER[register];
    return this.#extended(r).bytes(0xff, 0xe0 | (r & 7));
  }

  /** Eight bytes of data, little-endian. */
  quad(value: bigint): this {
    for (let i = 0n; i < 64n; i += 8n) this.#bytes.push(Number((value >> i) & 0xffn));
    return this;
  }

  /** j<condition> label, or jmp label. */
  jump(condition: Condition, label: string): this {
    const code = CONDITION[condition];
    this.bytes(code === -1 ? 0xeb : 0x70 | code, 0);
    this.#jumps.push({ at: this.#bytes.length - 1, label, isFar: false });
    return this;
  }

  /** The same with a distance of 32 bits. */
  farJump(condition: Condition, label: string): this {
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
        int32(distance).forEach((byte, i) => {
          this.#bytes[at + i] = byte;
        });
        continue;
      }
      assert(distance >= -128 && distance <= 127, `jump to ${label} is short (${distance})`);
      this.#bytes[at] = distance & 0xff;
    }
    return new Uint8Array(this.#bytes);
  }

  /** The prefix for the registers from r8 on. */
  #extended(register: number): this {
    return register < 8 ? this : this.bytes(0x41);
  }

  #memory(opcode: number, register: Register, base: Register, offset: number, bytes: 4 | 8): this {
    const [r, b] = [REGISTER[register], REGISTER[base]];
    assert(offset >= -128 && offset <= 127, 'offset fits a byte');
    const rex = 0x40 | (bytes === 8 ? 8 : 0) | ((r >> 3) << 2) | (b >> 3);
    // rsp and r12 as base are encoded by a SIB byte.
    const sib = (b & 7) === 4 ? [0x24] : [];
    return this.bytes(rex, opcode, 0x40 | ((r & 7) << 3) | (b & 7), ...sib, offset & 0xff);
  }
}
