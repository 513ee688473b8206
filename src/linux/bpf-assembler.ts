/**
 * Assembles programs for bpf(2): the few instructions that ours need. An instruction is eight bytes: code, registers
 * (the source in the upper half of the byte), offset, immediate value (linux/bpf.h, struct bpf_insn).
 */
import { BPF_FUNC_map_lookup_elem } from './abi/bpf.ts';

/** A source register that says: the immediate value is the descriptor of a map. */
const BPF_PSEUDO_MAP_FD = 1;
/** The frame pointer: the stack is below it. */
const FP = 10;
/** Codes by the number of bytes. */
const LOAD = { 2: 0x69, 4: 0x61, 8: 0x79 } as const;
const STORE = { 4: 0x63, 8: 0x7b } as const;

/** A program under construction. All jumps lead to its end, or to that of the part in which they are. */
export class BpfProgram {
  readonly #instructions: Uint8Array[] = [];
  #jumps: number[] = [];

  /** dst = *(u64 *)(src + offset), or a smaller number of so many bytes. */
  load(dst: number, src: number, offset: number, bytes: 2 | 4 | 8 = 8): void {
    this.#add(LOAD[bytes], dst, src, offset, 0);
  }

  /** *(u32 *)(FP + offset) = src */
  store32(offset: number, src: number): void {
    this.#add(0x63, FP, src, offset, 0);
  }

  /** *(u64 *)(dst + offset) = src, or its lower half. */
  store(dst: number, offset: number, src: number, bytes: 4 | 8 = 8): void {
    this.#add(STORE[bytes], dst, src, offset, 0);
  }

  move(dst: number, src: number): void {
    this.#add(0xbf, dst, src, 0, 0);
  }

  /** dst = src, when dst is 0. */
  moveIfZero(dst: number, src: number): void {
    this.#add(0x55, dst, 0, 1, 0);
    this.move(dst, src);
  }

  set(dst: number, value: number): void {
    this.#add(0xb7, dst, 0, 0, value);
  }

  add(dst: number, value: number): void {
    this.#add(0x07, dst, 0, 0, value);
  }

  addRegister(dst: number, src: number): void {
    this.#add(0x0f, dst, src, 0, 0);
  }

  or(dst: number, src: number): void {
    this.#add(0x4f, dst, src, 0, 0);
  }

  multiply(dst: number, src: number): void {
    this.#add(0x2f, dst, src, 0, 0);
  }

  xor(dst: number, value: number): void {
    this.#add(0xa7, dst, 0, 0, value);
  }

  and(dst: number, value: number): void {
    this.#add(0x57, dst, 0, 0, value);
  }

  shiftLeft(dst: number, bits: number): void {
    this.#add(0x67, dst, 0, 0, bits);
  }

  /** Zeros come from the left. */
  shiftRight(dst: number, bits: number): void {
    this.#add(0x77, dst, 0, 0, bits);
  }

  /** dst = 0, when another register has that value. */
  zeroIfSame(dst: number, other: number, value: number): void {
    this.#add(0x55, other, 0, 1, value);
    this.set(dst, 0);
  }

  /** dst = 0, when it is above the value; it is taken as unsigned. */
  zeroIfAbove(dst: number, value: number): void {
    this.#add(0xb5, dst, 0, 1, value);
    this.set(dst, 0);
  }

  /** dst = FP + offset */
  stackAddress(dst: number, offset: number): void {
    this.move(dst, FP);
    this.add(dst, offset);
  }

  loadStack(dst: number, offset: number): void {
    this.load(dst, FP, offset);
  }

  set64(dst: number, value: bigint): void {
    this.#wide(dst, 0, value);
  }

  setMap(dst: number, mapFd: number): void {
    this.#wide(dst, BPF_PSEUDO_MAP_FD, BigInt(mapFd));
  }

  call(helper: number): void {
    this.#add(0x85, 0, 0, 0, helper);
  }

  endUnless(register: number, value: number): void {
    this.#jump(0x55, register, 0, value);
  }

  /** Both are taken as unsigned. */
  endIfAbove(register: number, value: number): void {
    this.#jump(0x25, register, 0, value);
  }

  endUnlessSame(register: number, other: number): void {
    this.#jump(0x5d, register, other, 0);
  }

  endIfZero(register: number): void {
    this.#jump(0x15, register, 0, 0);
  }

  /**
   * Ends, or puts the address of the first value of an array into register 0. `scratch`: four bytes of the stack for the index;
   * registers 1 to 5 are lost.
   */
  findFirstValue(map: number, scratch: number): void {
    this.set(1, 0);
    this.store32(scratch, 1);
    this.setMap(1, map);
    this.stackAddress(2, scratch);
    this.call(BPF_FUNC_map_lookup_elem);
    this.endIfZero(0);
  }

  /** Jumps in what `body` adds lead to its end. */
  part(body: () => void): void {
    const outside = this.#jumps;
    this.#jumps = [];
    body();
    this.#landHere();
    this.#jumps = outside;
  }

  /** Such a part that is done so many times; the register counts from 0 on. */
  repeat(register: number, times: number, body: () => void): void {
    this.set(register, 0);
    const first = this.#instructions.length;
    this.part(body);
    this.add(register, 1);
    this.#add(0xa5, register, 0, first - this.#instructions.length - 1, times);
  }

  /** Adds "return 0", where all jumps lead, and gives the code. */
  finish(): Uint8Array {
    this.#landHere();
    this.set(0, 0);
    this.#add(0x95, 0, 0, 0, 0);
    return Buffer.concat(this.#instructions);
  }

  #landHere(): void {
    const here = this.#instructions.length;
    for (const jump of this.#jumps) view(this.#instructions[jump]).setInt16(2, here - jump - 1, true);
  }

  #jump(code: number, register: number, other: number, value: number): void {
    this.#jumps.push(this.#instructions.length);
    this.#add(code, register, other, 0, value);
  }

  #wide(dst: number, src: number, value: bigint): void {
    this.#add(0x18, dst, src, 0, Number(BigInt.asIntN(32, value)));
    this.#add(0, 0, 0, 0, Number(BigInt.asIntN(32, value >> 32n)));
  }

  #add(code: number, dst: number, src: number, offset: number, value: number): void {
    const bytes = new Uint8Array(8);
    bytes[0] = code;
    bytes[1] = dst | (src << 4);
    view(bytes).setInt16(2, offset, true);
    view(bytes).setInt32(4, value, true);
    this.#instructions.push(bytes);
  }
}

const view = (bytes: Uint8Array = new Uint8Array(8)) => new DataView(bytes.buffer, bytes.byteOffset);
