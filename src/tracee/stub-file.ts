/**
 * The file of a stub: a static ELF file with the agent and a program. In a 32-bit file the first instruction is a far jump
 * into 64-bit code. What the kernel keeps of the file's kind is what counts: limits of the address space, and the vdso.
 */
import { ABI_64, type Abi } from '../agent/abi.ts';
import { agentCode, OP_BYTES } from '../agent/agent-code.ts';
import type { Program } from '../agent/program.ts';
import {
  ELF_32,
  ELF_64,
  ELF_MAGIC,
  ELFCLASS32,
  ELFCLASS64,
  ELFDATA2LSB,
  EM_386,
  EM_X86_64,
  ET_EXEC,
  EV_CURRENT,
  PF_R,
  PF_W,
  PF_X,
  PT_GNU_STACK,
  PT_LOAD,
} from '../linux/abi/elf.ts';

/** Where the stub's own file is mapped: above vm.mmap_min_addr, below every ordinary program. */
const ELF_ADDRESS = 0x10000;

const SEGMENTS = 2;

const KINDS = {
  64: { ...ELF_64, class: ELFCLASS64, machine: EM_X86_64 },
  32: { ...ELF_32, class: ELFCLASS32, machine: EM_386 },
} as const;

/** ELF header, one loadable segment with agent and program, and a stack that is not executable. */
export function stubFile(program: Program, abi: Abi): Uint8Array {
  const kind = KINDS[abi.bits];
  const { header, segment } = kind;
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
  view.setUint32(0, ELF_MAGIC, true);
  file.set([kind.class, ELFDATA2LSB, EV_CURRENT], 4);
  view.setUint16(header.e_type, ET_EXEC, true);
  view.setUint16(header.e_machine, kind.machine, true);
  view.setUint32(header.e_version, EV_CURRENT, true);
  word(header.e_entry, ELF_ADDRESS + codeOffset);
  word(header.e_phoff, header.bytes);
  view.setUint16(header.e_ehsize, header.bytes, true);
  view.setUint16(header.e_phentsize, segment.bytes, true);
  view.setUint16(header.e_phnum, SEGMENTS, true);
  const addSegment = (index: number, type: number, flags: number, address: number, bytes: number) => {
    const at = header.bytes + index * segment.bytes;
    view.setUint32(at + segment.p_type, type, true);
    view.setUint32(at + segment.p_flags, flags, true);
    word(at + segment.p_vaddr, address);
    word(at + segment.p_paddr, address);
    word(at + segment.p_filesz, bytes);
    word(at + segment.p_memsz, bytes);
    word(at + segment.p_align, 0x1000);
  };
  addSegment(0, PT_LOAD, PF_R | PF_W | PF_X, ELF_ADDRESS, size);
  addSegment(1, PT_GNU_STACK, PF_R | PF_W, 0, 0);
  return file;
}

function codeOffsetOf({ bits }: Abi): number {
  const { header, segment } = KINDS[bits];
  return header.bytes + SEGMENTS * segment.bytes;
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
