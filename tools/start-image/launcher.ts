/**
 * Machine code at the entry of the executable, which decides how criu starts: from its start image, or as the runtime's own
 * program, by the dynamic linker.
 *
 * The kernel hands over as it does to any program without an interpreter: rsp is at argc, argv, envp and the auxiliary
 * vector (fs/binfmt_elf.c, create_elf_tables). rbp keeps that address. Encodings: Intel SDM volume 2.
 */
import { assert } from '../../src/base/errors.ts';
import { PLAIN_START } from '../../src/base/invocation.ts';
import { PAGE_BYTES } from '../../src/image/pagemap.ts';
import {
  AT_BASE,
  AT_ENTRY,
  AT_EXECFN,
  AT_IGNORE,
  AT_NULL,
  AT_PHDR,
  AT_PHNUM,
  AT_SYSINFO_EHDR,
} from '../../src/linux/abi/auxvec.ts';
import { ELF_64, PT_LOAD } from '../../src/linux/abi/elf.ts';
import { ERRNO } from '../../src/linux/abi/errno.ts';
import { EFD_CLOEXEC, EFD_NONBLOCK, EPOLL_CLOEXEC } from '../../src/linux/abi/event.ts';
import { AT_FDCWD, F_DUPFD_CLOEXEC, O_CLOEXEC } from '../../src/linux/abi/fcntl.ts';
import {
  MADV_POPULATE_READ,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/linux/abi/mman.ts';
import { PIDFD_SELF_THREAD_GROUP } from '../../src/linux/abi/pidfd.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { CLOCK_MONOTONIC } from '../../src/linux/abi/time.ts';
import { CODE_AT, DATA_AT, FIRST_FD } from '../../src/start/layout.ts';
import { Assembler, type Register } from '../assembler.ts';
import { assembleAgent } from '../generate-agent.ts';
import type { CpuNeeds } from './cpu-needs.ts';
import type { ExecutableHeader } from './elf.ts';

/** Programs for the agent, the first one makes the process again. */
export const PROGRAM_AT = DATA_AT;

/** The executable, while its pages are mapped. */
export const FILE_FD = FIRST_FD + 2;

/** Of the stack that a process gets for its image. */
const STACK_BYTES = 16 * 1024 * 1024;
const LINKER = '/lib64/ld-linux-x86-64.so.2';

/** A word that gets a value when the command line begins with a command; `dearValue` where page faults are dear. */
export interface Choice {
  readonly command: string;
  readonly at: number;
  readonly value: number;
  readonly dearValue: number;
}

/**
 * A page fault that takes longer is dear. With page tables of the processor's own it is 2 microseconds, and 12 in a virtual
 * machine whose host keeps shadow page tables.
 */
const DEAR_FAULT_NS = 6000;

export interface LauncherPlan extends ExecutableHeader {
  /**
   * record: a process from which a start image is taken. Its stack is where the kernel puts no stack, and it has no vdso,
   * which differs from kernel to kernel. image: there is one.
   */
  readonly mode: 'record' | 'image';
  readonly needs: readonly CpuNeeds[];
  readonly choices: readonly Choice[];
  /** Code that sets the registers of the image and goes on there; nothing for `record`. */
  readonly resume: Uint8Array;
}

class LauncherAssembler extends Assembler {
  /** A system call with these arguments; those left out are in their registers already. */
  call(number: number, args: Partial<Record<'rdi' | 'rsi' | 'rdx' | 'r10' | 'r8' | 'r9', number>> = {}): this {
    for (const [register, value] of Object.entries(args)) {
      if (value < 0) this.immediate(register as Register, BigInt.asUintN(64, BigInt(value)));
      else this.small(register as Register, value);
    }
    return this.small('rax', number).syscall();
  }

  /** openat(2) of the name at an address, for reading. */
  open(name: number): this {
    return this.call(SYS.openat, { rdi: AT_FDCWD, rsi: name, rdx: O_CLOEXEC, r10: 0 });
  }

  /** rbx = envp; or, behind it, the auxiliary vector. rbp is at argc. */
  findEnvironment(): this {
    this.load('rbx', 'rbp', 0).shiftLeft('rbx', 3).operate('add', 'rbx', 'rbp');
    return this.operateWith('add', 'rbx', 16);
  }

  findVector(name: string): this {
    this.findEnvironment().label(name).load('rax', 'rbx', 0).operateWith('add', 'rbx', 8);
    return this.test('rax').jump('nz', name);
  }

  /** Does `body` for each entry of the auxiliary vector that rbx is at: its type is in rax. Afterwards rbx is behind it. */
  eachEntry(name: string, body: () => void): this {
    this.label(name).load('rax', 'rbx', 0);
    body();
    return this.operateWith('add', 'rbx', 16).operateWith('cmp', 'rax', AT_NULL).farJump('nz', name);
  }

  /** Does `body` if rax is `value`. */
  when(value: number, body: () => void): this {
    const behind = `behind${this.length}`;
    this.operateWith('cmp', 'rax', value).jump('nz', behind);
    body();
    return this.label(behind);
  }
}

/** The code that is put at CODE_AT; its entry is its first byte. */
function assembleLauncher(plan: LauncherPlan): Uint8Array {
  const a = new LauncherAssembler();
  a.move('rbp', 'rsp');
  if (plan.mode === 'record') {
    moveStack(a);
    occupyDescriptors(a);
  } else {
    leaveIfPlain(a);
    for (const needs of plan.needs) leaveIfMissing(a, needs);
    useImage(a, plan.choices);
    closeDescriptors(a);
  }
  a.label('plain');
  startPlainly(a, plan);
  return a.assemble();
}

/**
 * Copies the stack to memory of its own and corrects what points into it. The kernel places stacks at random in the last 16 GiB
 * of the address space (arch/x86/mm/mmap.c), where an image must have nothing.
 */
function moveStack(a: LauncherAssembler): void {
  const anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  a.findVector('recordedEnvironment');
  a.eachEntry('recordedVector', () => {
    a.when(AT_EXECFN, () => a.load('r13', 'rbx', 8));
    a.when(AT_SYSINFO_EHDR, () => a.small('rdx', AT_IGNORE).store('rbx', 0, 'rdx'));
  });
  a.move('r14', 'rbx');
  // The name of the program is the last string; behind it are eight bytes (fs/exec.c, bprm_mm_init).
  a.label('name').load('rax', 'r13', 0).operateWith('add', 'r13', 1).operateWith('and', 'rax', 0xff).jump('nz', 'name');
  a.operateWith('add', 'r13', 8 + PAGE_BYTES - 1).operateWith('and', 'r13', -PAGE_BYTES);
  a.call(SYS.mmap, { rdi: 0, rsi: STACK_BYTES, rdx: PROT_READ | PROT_WRITE, r10: anonymous, r8: -1, r9: 0 });
  // rbp to r13 is copied to rdi; it moves by r8. r14 is the end of what has pointers.
  a.move('rdi', 'rax').operateWith('add', 'rdi', STACK_BYTES).move('rcx', 'r13').operate('sub', 'rcx', 'rbp');
  a.operate('sub', 'rdi', 'rcx').move('r8', 'rdi').operate('sub', 'r8', 'rbp').move('rbx', 'rdi').move('rsi', 'rbp');
  a.bytes(0xf3, 0xa4); // rep movsb
  a.operate('add', 'r14', 'r8').move('rdi', 'rbx');
  a.label('words').load('rax', 'rdi', 0);
  a.operate('cmp', 'rax', 'rbp').jump('b', 'next').operate('cmp', 'rax', 'r13').jump('ae', 'next');
  a.addToMemory('rdi', 0, 'r8');
  a.label('next').operateWith('add', 'rdi', 8).operate('cmp', 'rdi', 'r14').jump('b', 'words');
  a.move('rbp', 'rbx');
}

/** Descriptors that the runtime opens get numbers from FIRST_FD on. */
function occupyDescriptors(a: LauncherAssembler): void {
  a.label('occupy')
    .call(SYS.dup, { rdi: 0 })
    .operateWith('cmp', 'rax', FIRST_FD - 1)
    .jump('b', 'occupy');
}

/** PLAIN_START is in the environment. */
function leaveIfPlain(a: LauncherAssembler): void {
  const name = new DataView(new TextEncoder().encode(PLAIN_START).buffer);
  assert(name.byteLength === 16, 'the name is compared as two words');
  a.findEnvironment().immediate('rdx', name.getBigUint64(0, true)).immediate('rcx', name.getBigUint64(8, true));
  a.label('variable').load('rax', 'rbx', 0).test('rax').jump('z', 'allRead');
  a.operateWith('add', 'rbx', 8).compareMemory('rdx', 'rax', 0).jump('nz', 'variable');
  a.compareMemory('rcx', 'rax', 8).jump('nz', 'variable').farJump('always', 'plain').label('allRead');
}

/** The CPU is not able to do all that it must. */
function leaveIfMissing(a: LauncherAssembler, { leaf, ebx, ecx, edx }: CpuNeeds): void {
  a.small('rax', leaf).small('rcx', 0).bytes(0x0f, 0xa2); // cpuid
  for (const [register, bits] of [
    ['rbx', ebx],
    ['rcx', ecx],
    ['rdx', edx],
  ] as const) {
    a.operateWith('xor', register, -1).small('rsi', bits).operate('and', register, 'rsi');
  }
  a.operate('or', 'rbx', 'rcx').operate('or', 'rbx', 'rdx').farJump('nz', 'plain');
}

/** Opens the descriptors that the image has, and has the agent do the rest. */
function useImage(a: LauncherAssembler, choices: readonly Choice[]): void {
  /** Gives the descriptor in rax its number, unless somebody else has it. */
  const moveTo = (fd: number) => {
    a.test('rax').farJump('s', `without${fd}`).move('rdi', 'rax').move('rbx', 'rax');
    a.call(SYS.fcntl, { rsi: F_DUPFD_CLOEXEC, rdx: fd }).operateWith('cmp', 'rax', fd).farJump('nz', `no${fd}`);
    a.move('rdi', 'rbx').call(SYS.close);
  };
  a.call(SYS.epoll_create1, { rdi: EPOLL_CLOEXEC });
  moveTo(FIRST_FD);
  a.call(SYS.eventfd2, { rdi: 0, rsi: EFD_CLOEXEC | EFD_NONBLOCK });
  moveTo(FIRST_FD + 1);
  // The runtime would end with a crash where /proc is missing.
  a.open(CODE_AT + PLACES.executable)
    .operateWith('cmp', 'rax', -ERRNO.ENOENT)
    .farJump('z', 'noProc');
  moveTo(FILE_FD);
  a.load('rax', 'rbp', 0).operateWith('cmp', 'rax', 2).farJump('b', 'chosen');
  if (choices.length > 0) timeFaults(a);
  a.load('rax', 'rbp', 16).load32('rax', 'rax', 0);
  for (const { command, at, value, dearValue } of choices) {
    const letters = new DataView(new TextEncoder().encode(command).buffer).getUint32(0, true);
    a.when(letters, () => {
      a.small('rbx', at).small('rcx', value).test('r12').jump('z', `cheap ${command}`).small('rcx', dearValue);
      a.label(`cheap ${command}`).store('rbx', 0, 'rcx');
    });
  }
  a.label('chosen')
    .small('r15', PROGRAM_AT)
    .small('rax', CODE_AT + PLACES.agent)
    .jumpTo('rax');
}

/**
 * r12 = 1 when faults of two pages, which the programs write to in any case, are dear, and the kernel takes lists of ranges
 * for what is to be done instead (PIDFD_SELF_THREAD_GROUP: Linux 6.15); else 0.
 */
function timeFaults(a: LauncherAssembler): void {
  // A struct timespec below the stack. Where a second ends in between, the other page decides.
  const [timespec, nanoseconds] = [-32, -24];
  const readClock = () =>
    a.move('rsi', 'rbp').operateWith('add', 'rsi', timespec).call(SYS.clock_gettime, { rdi: CLOCK_MONOTONIC });
  a.small('r12', 1);
  for (const page of [1, 2]) {
    readClock();
    a.load('r14', 'rbp', nanoseconds).small('rbx', PROGRAM_AT + page * PAGE_BYTES);
    a.bytes(0x48, 0x83, 0x0b, 0x00); // or qword [rbx], 0
    readClock();
    a.load('rax', 'rbp', nanoseconds).operate('sub', 'rax', 'r14');
    a.operateWith('cmp', 'rax', DEAR_FAULT_NS).jump('ae', `dear${page}`).small('r12', 0).label(`dear${page}`);
  }
  a.test('r12').jump('z', 'timed');
  const nothing = { rdi: PIDFD_SELF_THREAD_GROUP, rsi: 0, rdx: 0, r10: MADV_POPULATE_READ, r8: 0 };
  a.call(SYS.process_madvise, nothing).test('rax').jump('z', 'timed').small('r12', 0).label('timed');
}

/** A plain start after all, without the descriptors that have been opened for the image. */
function closeDescriptors(a: LauncherAssembler): void {
  const fds = [FILE_FD, FIRST_FD + 1, FIRST_FD];
  for (const fd of fds) {
    // In rax is one with another number, or an error; in rbx what it is a duplicate of.
    a.label(`no${fd}`).move('rdi', 'rax').call(SYS.close).move('rdi', 'rbx').call(SYS.close);
    a.label(`without${fd}`);
    for (let opened = FIRST_FD; opened < fd; opened++) a.call(SYS.close, { rdi: opened });
    a.farJump('always', 'plain');
  }
}

/** Maps the dynamic linker as the kernel would have done (fs/binfmt_elf.c, load_elf_interp), and goes there. */
function startPlainly(a: LauncherAssembler, { entry, headers, headerCount }: ExecutableHeader): void {
  const { header, segment } = ELF_64;
  const HEAD_BYTES = 1024;
  const anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  const orFail = () => a.test('rax').farJump('s', 'fail');
  /** Does `body` for each segment that is loaded; its program header is at rbx. */
  const eachSegment = (name: string, body: () => void) => {
    a.load('r15', 'rsp', header.e_phnum).operateWith('and', 'r15', 0xffff);
    a.move('rbx', 'rsp').operateWith('add', 'rbx', header.bytes);
    a.label(name).load32('rax', 'rbx', segment.p_type).operateWith('cmp', 'rax', PT_LOAD).farJump('nz', `${name}Next`);
    body();
    a.label(`${name}Next`).operateWith('add', 'rbx', segment.bytes).operateWith('sub', 'r15', 1).farJump('nz', name);
  };
  a.move('rsp', 'rbp').open(CODE_AT + PLACES.linker);
  orFail();
  a.move('r13', 'rax').operateWith('sub', 'rsp', HEAD_BYTES);
  a.move('rdi', 'rax').move('rsi', 'rsp').call(SYS.read, { rdx: HEAD_BYTES });
  a.small('r14', 0);
  eachSegment('measure', () => {
    a.load('rax', 'rbx', segment.p_vaddr).addMemory('rax', 'rbx', segment.p_memsz);
    a.operate('cmp', 'rax', 'r14').jump('b', 'smaller').move('r14', 'rax').label('smaller');
  });
  a.move('rsi', 'r14').call(SYS.mmap, { rdi: 0, rdx: PROT_NONE, r10: anonymous, r8: -1, r9: 0 });
  orFail();
  a.move('r12', 'rax');
  eachSegment('map', () => {
    a.load('rsi', 'rbx', segment.p_vaddr)
      .move('rdi', 'rsi')
      .operateWith('and', 'rsi', PAGE_BYTES - 1);
    a.addMemory('rsi', 'rbx', segment.p_filesz).operateWith('and', 'rdi', -PAGE_BYTES).operate('add', 'rdi', 'r12');
    a.load('r9', 'rbx', segment.p_offset).operateWith('and', 'r9', -PAGE_BYTES).move('r8', 'r13');
    // PF_X 1, PF_W 2, PF_R 4 are PROT_EXEC 4, PROT_WRITE 2, PROT_READ 1.
    a.load32('rax', 'rbx', segment.p_flags).move('rdx', 'rax').operateWith('and', 'rdx', 2).move('rcx', 'rax');
    a.operateWith('and', 'rcx', 1).shiftLeft('rcx', 2).operate('or', 'rdx', 'rcx');
    a.shiftRight('rax', 2).operateWith('and', 'rax', 1).operate('or', 'rdx', 'rax');
    a.call(SYS.mmap, { r10: MAP_PRIVATE | MAP_FIXED });
    orFail();
    // Memory behind the file's content: the rest of the page is zeroed, pages that follow are anonymous.
    a.load('rcx', 'rbx', segment.p_filesz).compareMemory('rcx', 'rbx', segment.p_memsz).farJump('z', 'mapNext');
    a.load('rdi', 'rbx', segment.p_vaddr).operate('add', 'rdi', 'rcx').operate('add', 'rdi', 'r12');
    a.move('rcx', 'rdi')
      .negate('rcx')
      .operateWith('and', 'rcx', PAGE_BYTES - 1)
      .small('rax', 0);
    a.bytes(0xf3, 0xaa); // rep stosb
    a.load('rsi', 'rbx', segment.p_vaddr).addMemory('rsi', 'rbx', segment.p_memsz).operate('add', 'rsi', 'r12');
    a.operate('sub', 'rsi', 'rdi').farJump('le', 'mapNext');
    a.call(SYS.mmap, { r10: anonymous | MAP_FIXED, r8: -1, r9: 0 });
    orFail();
  });
  a.move('rdi', 'r13').call(SYS.close).load('r14', 'rsp', header.e_entry).operate('add', 'r14', 'r12');
  a.findVector('environment').eachEntry('vector', () => {
    const put = (type: number, value: number) => a.when(type, () => a.small('rcx', value).store('rbx', 8, 'rcx'));
    put(AT_PHDR, headers);
    put(AT_PHNUM, headerCount);
    put(AT_ENTRY, entry);
    a.when(AT_BASE, () => a.store('rbx', 8, 'r12'));
  });
  a.move('rsp', 'rbp').small('rdx', 0).jumpTo('r14');
  const failWith = (place: number, text: string) =>
    a.call(SYS.write, { rdi: 2, rsi: CODE_AT + place, rdx: text.length }).call(SYS.exit_group, { rdi: FAILED });
  a.label('fail');
  failWith(PLACES.noLinker, NO_LINKER);
  a.label('noProc');
  failWith(PLACES.noProc, NO_PROC);
}

/** As a shell says that a program cannot be started. */
const FAILED = 127;
const NO_LINKER = `criu: cannot start: ${LINKER} cannot be loaded\n`;
const NO_PROC = 'criu: cannot start: /proc is not mounted\n';
const NO_MEMORY = `criu: cannot start: no memory for its start image; ${PLAIN_START}=1 in the environment does without\n`;

/** Says that it is too late for another start: the runtime's memory is overwritten. */
function assembleGivingUp(): Uint8Array {
  const a = new LauncherAssembler();
  a.call(SYS.write, { rdi: 2, rsi: CODE_AT + PLACES.noMemory, rdx: NO_MEMORY.length });
  return a.call(SYS.exit_group, { rdi: FAILED }).assemble();
}

/** What an op that fails does. */
const giveUp = (a: Assembler) => a.small('rax', CODE_AT + PLACES.givingUp).jumpTo('rax');

/** The parts of the page at CODE_AT, in this order. */
const PLACES = {
  launcher: 0,
  agent: 0x800,
  executable: 0xa00,
  linker: 0xa20,
  noLinker: 0xa40,
  noMemory: 0xb00,
  noProc: 0xb80,
  givingUp: 0xc00,
  resume: 0xe00,
} as const;

/** Where the program leaves the agent to. */
export const RESUME_AT = CODE_AT + PLACES.resume;

/** All of the page at CODE_AT. */
export function launcherPage(plan: LauncherPlan): Uint8Array {
  const text = (value: string) => new TextEncoder().encode(`${value}\0`);
  const parts: Record<keyof typeof PLACES, Uint8Array> = {
    launcher: assembleLauncher(plan),
    agent: assembleAgent(giveUp),
    executable: text('/proc/self/exe'),
    linker: text(LINKER),
    noLinker: text(NO_LINKER),
    noMemory: text(NO_MEMORY),
    noProc: text(NO_PROC),
    givingUp: assembleGivingUp(),
    resume: plan.resume,
  };
  const page = new Uint8Array(PAGE_BYTES);
  const names = Object.keys(PLACES) as (keyof typeof PLACES)[];
  names.forEach((name, i) => {
    const next = names[i + 1];
    const room = (next === undefined ? PAGE_BYTES : PLACES[next]) - PLACES[name];
    assert(parts[name].length <= room, `the part ${name} has room for ${parts[name].length} bytes`);
    page.set(parts[name], PLACES[name]);
  });
  return page;
}
