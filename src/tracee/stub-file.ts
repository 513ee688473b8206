/**
 * The file of a stub: a static ELF file with the agent and a program. In a 32-bit file the first instruction is a far jump
 * into 64-bit code. What the kernel keeps of the file's kind is what counts: limits of the address space, and the vdso.
 */
import { ABI_64, type Abi } from '../agent/abi.ts';
import { agentCode, OP_BYTES } from '../agent/agent-code.ts';
import type { Program } from '../agent/program.ts';

/** Where the stub's own file is mapped: above vm.mmap_min_addr, below every ordinary program. */
const ELF_ADDRESS = 0x10000;

const ELFCLASS32 = 1;
const ELFCLASS64 = 2;
const ET_EXEC = 2;
const EM_386 = 3;
const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_GNU_STACK = 0x6474e551;
const PF_RWX = 7;
const PF_RW = 6;

/** Sizes and offsets of the two kinds of file (man 5 elf). */
const LAYOUTS = {
  64: {
    class: ELFCLASS64,
    machine: EM_X86_64,
    header: { bytes: 64, entry: 24, programHeaders: 32, size: 52 },
    segment: { bytes: 56, flags: 4, vaddr: 16, paddr: 24, fileSize: 32, memorySize: 40, align: 48 },
  },
  32: {
    class: ELFCLASS32,
    machine: EM_386,
    header: { bytes: 52, entry: 24, programHeaders: 28, size: 40 },
    segment: { bytes: 32, flags: 24, vaddr: 8, paddr: 12, fileSize: 16, memorySize: 20, align: 28 },
  },
} as const;

/** ELF header, one loadable segment with agent and program, and a stack that is not executable. */
export function stubFile(program: Program, abi: Abi): Uint8Array {
  const layout = LAYOUTS[abi.bits];
  const { header, segment } = layout;
  const code = agentCode();
  const start = entryCode(abi);
  const codeOffset = codeOffsetOf(abi);
  const agentStart = codeOffset + start.length;
  const programStart = stubProgramAddress(abi) - ELF_ADDRESS;
  const startView = new DataView(start.buffer);
  startView.setInt32(start.length - 4, programStart - agentStart, true);
  if (abi.bits === 32) startView.setUint32(1, ELF_ADDRESS + codeOffset + FAR_JUMP.length, true);
  const block = program.assemble(stubProgramAddress(abi));
  const size = programStart + block.length;
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  const word = (at: number, value: number) =>
    abi.bits === 32 ? view.setUint32(at, value, true) : view.setBigUint64(at, BigInt(value), true);
  file.set(start, codeOffset);
  file.set(code, agentStart);
  file.set(block, programStart);
  file.set([0x7f, 0x45, 0x4c, 0x46, layout.class, 1, 1]); // ELF, little-endian, version 1
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, layout.machine, true);
  view.setUint32(20, 1, true);
  word(header.entry, ELF_ADDRESS + codeOffset);
  word(header.programHeaders, header.bytes);
  view.setUint16(header.size, header.bytes, true);
  view.setUint16(header.size + 2, segment.bytes, true);
  view.setUint16(header.size + 4, 2, true); // two segments
  const addSegment = (index: number, type: number, flags: number, address: number, bytes: number) => {
    const at = header.bytes + index * segment.bytes;
    view.setUint32(at, type, true);
    view.setUint32(at + segment.flags, flags, true);
    word(at + segment.vaddr, address);
    word(at + segment.paddr, address);
    word(at + segment.fileSize, bytes);
    word(at + segment.memorySize, bytes);
    word(at + segment.align, 0x1000);
  };
  addSegment(0, PT_LOAD, PF_RWX, ELF_ADDRESS, size);
  addSegment(1, PT_GNU_STACK, PF_RW, 0, 0);
  return file;
}

function codeOffsetOf({ bits }: Abi): number {
  const { header, segment } = LAYOUTS[bits];
  return header.bytes + 2 * segment.bytes;
}

/** Where a process that executes the file has the program. */
export function stubProgramAddress(abi: Abi): number {
  const end = codeOffsetOf(abi) + entryCode(abi).length + agentCode().length;
  return ELF_ADDRESS + ((end + OP_BYTES - 1) & ~(OP_BYTES - 1));
}

/** jmp far 0x33:address. */
const FAR_JUMP = [0xea, 0, 0, 0, 0, Number(ABI_64.codeSegment), 0];
/** Sets the program counter: lea r15, [rip + distance]. */
const SET_PROGRAM = [0x4c, 0x8d, 0x3d, 0, 0, 0, 0];

/** The first instructions; the agent follows. */
const entryCode = ({ bits }: Abi) => new Uint8Array(bits === 32 ? [...FAR_JUMP, ...SET_PROGRAM] : SET_PROGRAM);
