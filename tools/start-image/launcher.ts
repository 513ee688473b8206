/**
 * Machine code at the entry of the executable, which decides how criu starts: from its start image, or as the runtime's own
 * program, by the dynamic linker.
 *
 * The kernel hands over as it does to any program without an interpreter: rsp is at argc, argv, envp and the auxiliary
 * vector (fs/binfmt_elf.c, create_elf_tables). rbp keeps that address. Encodings: Intel SDM volume 2.
 */
import { CODE_AT, DATA_AT, FIRST_FD, PLAIN_START, STACK_WORD } from '../../src/start/layout.ts';
import { Assembler } from '../assembler.ts';
import { assembleAgent } from '../generate-agent.ts';
import type { CpuNeeds } from './cpu-needs.ts';

/** The ops for the agent. */
export const PROGRAM_AT = DATA_AT + 0x1000;

/** The executable, while its pages are mapped. */
export const FILE_FD = FIRST_FD + 2;

const AT = { ignore: 1, phdr: 3, phnum: 5, base: 7, entry: 9, execfn: 31, sysinfoEhdr: 33 } as const;
const NR = {
  read: 0,
  mmap: 9,
  write: 1,
  close: 3,
  dup: 32,
  fcntl: 72,
  openat: 257,
  exitGroup: 231,
  epollCreate1: 291,
  eventfd2: 290,
};
const CLOEXEC = 0x8_0000;
const NONBLOCK = 0x800;
const F_DUPFD_CLOEXEC = 1030;
const STACK_BYTES = 16 * 1024 * 1024;
const INTERPRETER = '/lib64/ld-linux-x86-64.so.2';

/** What the executable's own header said before it was changed. */
export interface OriginalStart {
  readonly entry: number;
  /** Address of the program headers, which stay where they are. */
  readonly headers: number;
  readonly headerCount: number;
}

export interface LauncherPlan extends OriginalStart {
  /**
   * record: a process from which a start image is taken. Its stack is where the kernel puts no stack, and it has no vdso,
   * which differs from kernel to kernel. image: there is one.
   */
  readonly mode: 'record' | 'image';
  readonly needs: readonly CpuNeeds[];
  /** Code that sets the registers of the image and goes on there; nothing for `record`. */
  readonly resume: Uint8Array;
}

const int32 = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff];

class LauncherAssembler extends Assembler {
  /** mov eax, number; syscall */
  call(number: number): this {
    return this.bytes(0xb8, ...int32(number)).syscall();
  }

  /** mov <low register>, imm32 */
  set(register: 'eax' | 'ecx' | 'edx' | 'esi' | 'edi', value: number): this {
    const code = { eax: 0xb8, ecx: 0xb9, edx: 0xba, esi: 0xbe, edi: 0xbf }[register];
    return this.bytes(code, ...int32(value));
  }

  /** rbx = the auxiliary vector. */
  findVector(label: string): this {
    this.load('rcx', 'rbp', 0).bytes(0x48, 0x8d, 0x5c, 0xcd, 0x10); // lea rbx, [rbp + rcx * 8 + 16]: envp
    this.label(label).bytes(0x48, 0x83, 0x3b, 0x00); // cmp qword [rbx], 0
    return this.bytes(0x48, 0x8d, 0x5b, 0x08).jump('nz', label); // lea rbx, [rbx + 8]
  }
}

/** The code that is put at CODE_AT; its entry is its first byte. */
export function assembleLauncher(plan: LauncherPlan): Uint8Array {
  const a = new LauncherAssembler();
  a.move('rbp', 'rsp');
  if (plan.mode === 'record') {
    moveStack(a);
    occupyDescriptors(a);
  } else useImage(a, plan.needs);
  a.label('plain');
  startPlainly(a, plan);
  return a.assemble();
}

function moveStack(a: LauncherAssembler): void {
  a.findVector('recordEnv').move('rsi', 'rbx');
  a.label('vector').load('rax', 'rsi', 0);
  a.bytes(0x48, 0x83, 0xf8, AT.execfn).jump('nz', 'noName').load('rdx', 'rsi', 8); // cmp rax, 31
  a.label('noName').bytes(0x48, 0x83, 0xf8, AT.sysinfoEhdr).jump('nz', 'noVdso');
  a.bytes(0xc7, 0x06, ...int32(AT.ignore)); // mov dword [rsi], AT_IGNORE
  a.label('noVdso').bytes(0x48, 0x83, 0xc6, 16, 0x48, 0x85, 0xc0).jump('nz', 'vector'); // add rsi, 16; test rax, rax
  a.label('nameEnd').bytes(0x80, 0x3a, 0, 0x48, 0x8d, 0x52, 1).jump('nz', 'nameEnd'); // cmp byte [rdx], 0; inc
  a.bytes(0x48, 0x81, 0xc2, ...int32(8 + 4095), 0x48, 0x81, 0xe2, ...int32(-4096)); // add rdx, …; and rdx, −4096
  a.move('r13', 'rdx').move('r14', 'rsi'); // the end of the stack, and of the vector
  a.bytes(0x31, 0xff)
    .set('esi', STACK_BYTES)
    .set('edx', 3)
    .bytes(0x41, 0xba, ...int32(0x4022)); // r10d: NORESERVE
  a.bytes(0x49, 0x83, 0xc8, 0xff, 0x45, 0x31, 0xc9).call(NR.mmap); // or r8, −1; xor r9d, r9d
  a.bytes(0x48, 0x8d, 0xb8, ...int32(STACK_BYTES)); // lea rdi, [rax + STACK_BYTES]
  a.move('rcx', 'r13').bytes(0x48, 0x29, 0xe9, 0x48, 0x29, 0xcf); // sub rcx, rbp; sub rdi, rcx
  a.move('rbx', 'rdi').move('r8', 'rdi').bytes(0x49, 0x29, 0xe8); // sub r8, rbp: how far it moves
  a.move('rsi', 'rbp').bytes(0xf3, 0xa4); // rep movsb
  a.bytes(0x49, 0x29, 0xee, 0x49, 0x01, 0xde); // sub r14, rbp; add r14, rbx: the new end of the vector
  a.move('rdi', 'rbx');
  a.label('words').load('rax', 'rdi', 0).bytes(0x48, 0x39, 0xe8).jump('b', 'kept'); // cmp rax, rbp
  a.bytes(0x4c, 0x39, 0xe8).jump('ae', 'kept').bytes(0x4c, 0x01, 0x07); // cmp rax, r13; add [rdi], r8
  a.label('kept').bytes(0x48, 0x83, 0xc7, 8, 0x4c, 0x39, 0xf7).jump('b', 'words'); // add rdi, 8; cmp rdi, r14
  a.move('rbp', 'rbx');
}

/** Descriptors that the runtime opens get numbers from FIRST_FD on. */
function occupyDescriptors(a: LauncherAssembler): void {
  a.label('occupy')
    .bytes(0x31, 0xff)
    .call(NR.dup)
    .bytes(0x3d, ...int32(FIRST_FD - 1))
    .jump('b', 'occupy');
}

function useImage(a: LauncherAssembler, needs: readonly CpuNeeds[]): void {
  const toPlain = (condition: 'z' | 'nz' | 's') => a.farJump(condition, 'plain');
  a.load('rcx', 'rbp', 0).bytes(0x48, 0x8d, 0x5c, 0xcd, 0x10); // lea rbx, [rbp + rcx * 8 + 16]: envp
  a.immediate('rdx', Buffer.from(PLAIN_START.slice(0, 8)).readBigUInt64LE());
  a.label('env').load('rax', 'rbx', 0).bytes(0x48, 0x85, 0xc0).jump('z', 'envEnd');
  a.bytes(0x48, 0x39, 0x10); // cmp [rax], rdx
  toPlain('z');
  a.bytes(0x48, 0x83, 0xc3, 8).jump('always', 'env').label('envEnd');
  for (const { leaf, ebx, ecx, edx } of needs) {
    a.set('eax', leaf).set('ecx', 0).bytes(0x0f, 0xa2); // cpuid
    a.bytes(0xf7, 0xd3, 0xf7, 0xd1, 0xf7, 0xd2); // not ebx; not ecx; not edx
    a.bytes(0x81, 0xe3, ...int32(ebx), 0x81, 0xe1, ...int32(ecx), 0x81, 0xe2, ...int32(edx)); // and
    a.bytes(0x09, 0xcb, 0x09, 0xd3); // or ebx, ecx; or ebx, edx
    toPlain('nz');
  }
  /** Gives the descriptor in eax a number that nobody else may have. */
  const moveTo = (fd: number) => {
    a.bytes(0x85, 0xc0);
    toPlain('s');
    a.bytes(0x89, 0xc7, 0x89, 0xc3)
      .set('esi', F_DUPFD_CLOEXEC)
      .set('edx', fd)
      .call(NR.fcntl)
      .bytes(0x3d, ...int32(fd));
    toPlain('nz');
    a.bytes(0x89, 0xdf).call(NR.close); // mov edi, ebx
  };
  a.set('edi', CLOEXEC).call(NR.epollCreate1);
  moveTo(FIRST_FD);
  a.bytes(0x31, 0xff)
    .set('esi', CLOEXEC | NONBLOCK)
    .call(NR.eventfd2);
  moveTo(FIRST_FD + 1);
  a.set('edi', -100)
    .immediate('rsi', CODE_AT + NAME_AT)
    .set('edx', CLOEXEC)
    .bytes(0x45, 0x31, 0xd2)
    .call(NR.openat);
  moveTo(FILE_FD);
  a.immediate('rbx', STACK_WORD).store('rbx', 0, 'rbp');
  a.immediate('r15', PROGRAM_AT)
    .immediate('rax', CODE_AT + AGENT_AT)
    .bytes(0xff, 0xe0); // jmp rax
}

/** Maps the dynamic linker as the kernel would have done, corrects the auxiliary vector, and goes there. */
function startPlainly(a: LauncherAssembler, { entry, headers, headerCount }: OriginalStart): void {
  const HEAD_BYTES = 1024;
  a.move('rsp', 'rbp');
  a.set('edi', -100)
    .immediate('rsi', CODE_AT + LINKER_AT)
    .set('edx', CLOEXEC)
    .bytes(0x45, 0x31, 0xd2)
    .call(NR.openat);
  a.bytes(0x85, 0xc0).farJump('s', 'fail').move('r13', 'rax');
  a.bytes(0x48, 0x81, 0xec, ...int32(HEAD_BYTES))
    .bytes(0x89, 0xc7)
    .move('rsi', 'rsp')
    .set('edx', HEAD_BYTES);
  a.call(NR.read);
  const eachHeader = (name: string, body: () => void) => {
    a.bytes(0x44, 0x0f, 0xb7, 0x7c, 0x24, 56); // movzx r15d, word [rsp + 56]: e_phnum
    a.bytes(0x48, 0x8d, 0x5c, 0x24, 64); // lea rbx, [rsp + 64]
    a.label(name).bytes(0x83, 0x3b, 1).farJump('nz', `${name}Next`); // cmp dword [rbx], PT_LOAD
    body();
    a.label(`${name}Next`).bytes(0x48, 0x83, 0xc3, 56, 0x41, 0xff, 0xcf).farJump('nz', name); // add rbx, 56; dec r15d
  };
  a.bytes(0x45, 0x31, 0xf6); // xor r14d, r14d
  eachHeader('size', () => {
    a.load('rax', 'rbx', 16).bytes(0x48, 0x03, 0x43, 40, 0x4c, 0x39, 0xf0, 0x4c, 0x0f, 0x47, 0xf0); // cmova r14, rax
  });
  a.bytes(0x31, 0xff)
    .move('rsi', 'r14')
    .bytes(0x31, 0xd2, 0x41, 0xba, ...int32(0x22)); // PROT_NONE
  a.bytes(0x49, 0x83, 0xc8, 0xff, 0x45, 0x31, 0xc9).call(NR.mmap);
  a.bytes(0x48, 0x85, 0xc0).farJump('s', 'fail').move('r12', 'rax');
  eachHeader('map', () => {
    a.load('rdi', 'rbx', 16)
      .move('rsi', 'rdi')
      .bytes(0x81, 0xe6, ...int32(4095), 0x48, 0x03, 0x73, 32); // + p_filesz
    a.bytes(0x48, 0x81, 0xe7, ...int32(-4096), 0x4c, 0x01, 0xe7); // and rdi, −4096; add rdi, r12
    a.load('r9', 'rbx', 8)
      .bytes(0x49, 0x81, 0xe1, ...int32(-4096))
      .move('r8', 'r13')
      .bytes(0x41, 0xba, ...int32(0x12));
    a.load32('rcx', 'rbx', 4).bytes(0x89, 0xca, 0x83, 0xe2, 2); // edx = flags & PF_W: PROT_WRITE
    a.bytes(0x89, 0xc8, 0x83, 0xe0, 1, 0xc1, 0xe0, 2, 0x09, 0xc2); // PF_X 1: PROT_EXEC 4
    a.bytes(0xc1, 0xe9, 2, 0x83, 0xe1, 1, 0x09, 0xca).call(NR.mmap); // PF_R 4: PROT_READ 1
    a.bytes(0x48, 0x85, 0xc0).farJump('s', 'fail');
    a.load('rdi', 'rbx', 16).load('rcx', 'rbx', 32).compareMemory('rcx', 'rbx', 40).farJump('z', 'mapNext');
    a.bytes(0x48, 0x01, 0xcf, 0x4c, 0x01, 0xe7); // add rdi, rcx; add rdi, r12
    a.move('rcx', 'rdi').bytes(0x48, 0xf7, 0xd9, 0x81, 0xe1, ...int32(4095), 0x31, 0xc0, 0xf3, 0xaa); // rep stosb
    a.load('rsi', 'rbx', 16).bytes(0x48, 0x03, 0x73, 40, 0x4c, 0x01, 0xe6, 0x48, 0x29, 0xfe); // rsi = end − rdi
    a.bytes(0x48, 0x85, 0xf6).farJump('le', 'mapNext');
    a.bytes(0x41, 0xba, ...int32(0x32), 0x49, 0x83, 0xc8, 0xff, 0x45, 0x31, 0xc9).call(NR.mmap);
    a.bytes(0x48, 0x85, 0xc0).farJump('s', 'fail');
  });
  a.bytes(0x44, 0x89, 0xef).call(NR.close); // mov edi, r13d
  a.bytes(0x4c, 0x8b, 0x74, 0x24, 24, 0x4d, 0x01, 0xe6); // mov r14, [rsp + 24]: e_entry; add r14, r12
  a.findVector('plainEnv');
  a.label('patch').load('rax', 'rbx', 0);
  const patch = (type: number, value: number | undefined) => {
    a.bytes(0x48, 0x83, 0xf8, type).jump('nz', `not${type}`);
    if (value === undefined) a.store('rbx', 8, 'r12');
    else a.immediate('rcx', value).store('rbx', 8, 'rcx');
    a.label(`not${type}`);
  };
  patch(AT.phdr, headers);
  patch(AT.phnum, headerCount);
  patch(AT.base, undefined);
  patch(AT.entry, entry);
  a.bytes(0x48, 0x83, 0xc3, 16, 0x48, 0x85, 0xc0).farJump('nz', 'patch');
  a.move('rsp', 'rbp').bytes(0x31, 0xd2, 0x41, 0xff, 0xe6); // xor edx, edx; jmp r14
  a.label('fail')
    .set('edi', 2)
    .immediate('rsi', CODE_AT + MESSAGE_AT)
    .set('edx', MESSAGE.length)
    .call(NR.write);
  a.set('edi', 127).call(NR.exitGroup);
}

const MESSAGE = `criu: cannot start: ${INTERPRETER} cannot be loaded\n`;
export const MAP_FAILED = `criu: cannot start: no memory for its start image; ${PLAIN_START}=1 in the environment does without\n`;

/** Says that it is too late for another start: the runtime's memory is overwritten. */
function assembleGivingUp(): Uint8Array {
  const a = new LauncherAssembler();
  a.set('edi', 2)
    .immediate('rsi', CODE_AT + FAILED_AT)
    .set('edx', MAP_FAILED.length)
    .call(NR.write);
  return a.set('edi', 127).call(NR.exitGroup).assemble();
}

/** mov eax, the code that gives up; jmp rax */
const giveUp = (a: Assembler) => a.bytes(0xb8, ...int32(CODE_AT + GIVE_UP_AT), 0xff, 0xe0);

const AGENT_AT = 0x800;
const NAME_AT = 0xc00;
const LINKER_AT = 0xc40;
const MESSAGE_AT = 0xc80;
const FAILED_AT = 0xd00;
const GIVE_UP_AT = 0xe00;
const CODE_BYTES = 0x1000;
const RESUME_OFFSET = 0xe80;
/** Where the program leaves the agent to. */
export const RESUME_AT = CODE_AT + RESUME_OFFSET;

/** All of the page at CODE_AT. */
export function launcherPage(plan: LauncherPlan): Uint8Array {
  const page = new Uint8Array(CODE_BYTES);
  const put = (at: number, end: number, bytes: Uint8Array) => {
    if (at + bytes.length > end) throw new Error(`the launcher's part at ${at} is too long: ${bytes.length} bytes`);
    page.set(bytes, at);
  };
  const text = (value: string) => new TextEncoder().encode(`${value}\0`);
  put(0, AGENT_AT, assembleLauncher(plan));
  put(AGENT_AT, NAME_AT, assembleAgent(giveUp));
  put(NAME_AT, LINKER_AT, text('/proc/self/exe'));
  put(LINKER_AT, MESSAGE_AT, text(INTERPRETER));
  put(MESSAGE_AT, FAILED_AT, text(MESSAGE));
  put(FAILED_AT, GIVE_UP_AT, text(MAP_FAILED));
  put(GIVE_UP_AT, RESUME_OFFSET, assembleGivingUp());
  put(RESUME_OFFSET, CODE_BYTES, plan.resume);
  return page;
}
