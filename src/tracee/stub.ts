/**
 * A stub: a process with a chosen pid that holds nothing but the agent. Restored tasks are stubs that turn into the task.
 *
 * The stub is a tiny static ELF file in a memfd, started by machine code that does clone3(CLONE_VM | CLONE_VFORK, set_tid),
 * PTRACE_TRACEME and execveat: the Bun process itself is never forked. Until it is complete a stub is under
 * PTRACE_O_EXITKILL, so a restore that fails, or is killed, leaves no process behind.
 */
import { agentCode, OP_BYTES } from '../agent/agent-code.ts';
import { Program } from '../agent/program.ts';
import { assert, CriuError } from '../base/errors.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_PRIVATE,
  MFD_CLOEXEC,
  MFD_EXEC,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
} from '../linux/abi/mman.ts';
import { PTRACE_O_EXITKILL, PTRACE_SETOPTIONS } from '../linux/abi/ptrace.ts';
import { CLONE_PARENT, CLONE_VFORK, CLONE_VM } from '../linux/abi/sched.ts';
import { SIG_SETMASK, SIGCHLD } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { addressOf, callable, check, cString, placeCode, syscall } from '../linux/kernel.ts';
import { ptrace } from '../linux/syscalls/process.ts';
import { HostTask } from './host.ts';
import { waitForStop } from './stop.ts';

/** Where the stub's own file is mapped: above vm.mmap_min_addr, below every ordinary program. */
const ELF_ADDRESS = 0x10000;
const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const CODE_OFFSET = ELF_HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES;

/** The stub's file: ELF header, one loadable segment with agent and program, and a stack that is not executable. */
function stubFile(program: Program): Uint8Array {
  const code = agentCode();
  // The first instruction sets the program counter: lea r15, [rip + distance]; the agent follows.
  const entry = Uint8Array.of(0x4c, 0x8d, 0x3d, 0, 0, 0, 0);
  const codeStart = CODE_OFFSET + entry.length;
  const programStart = (codeStart + code.length + OP_BYTES - 1) & ~(OP_BYTES - 1);
  new DataView(entry.buffer).setInt32(3, programStart - codeStart, true);
  const block = program.assemble(ELF_ADDRESS + programStart);
  const size = programStart + block.length;
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  file.set(entry, CODE_OFFSET);
  file.set(code, codeStart);
  file.set(block, programStart);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // ELF, 64 bits, little-endian, version 1
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(ELF_ADDRESS + CODE_OFFSET), true); // e_entry
  view.setBigUint64(32, BigInt(ELF_HEADER_BYTES), true); // e_phoff
  view.setUint16(52, ELF_HEADER_BYTES, true);
  view.setUint16(54, PROGRAM_HEADER_BYTES, true);
  view.setUint16(56, 2, true); // e_phnum
  const segment = (index: number, type: number, flags: number, bytes: number) => {
    const at = ELF_HEADER_BYTES + index * PROGRAM_HEADER_BYTES;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    view.setBigUint64(at + 16, BigInt(type === PT_LOAD ? ELF_ADDRESS : 0), true);
    view.setBigUint64(at + 24, BigInt(type === PT_LOAD ? ELF_ADDRESS : 0), true);
    view.setBigUint64(at + 32, BigInt(bytes), true);
    view.setBigUint64(at + 40, BigInt(bytes), true);
    view.setBigUint64(at + 48, 0x1000n, true);
  };
  segment(0, PT_LOAD, 7, size);
  segment(1, PT_GNU_STACK, 6, 0);
  return file;
}

const PT_LOAD = 1;
const PT_GNU_STACK = 0x6474e551;

/** C function(clone_args, size, memfd, "", argv, envp): clone3, and in the child PTRACE_TRACEME, execveat, exit. */
const SPAWN = [
  0x53, // push rbx
  0x41, 0x54, 0x41, 0x55, 0x41, 0x56, // push r12; push r13; push r14
  0x49, 0x89, 0xd4, // mov r12, rdx       memfd
  0x49, 0x89, 0xcd, // mov r13, rcx       ""
  0x4d, 0x89, 0xc6, // mov r14, r8        argv
  0x4c, 0x89, 0xcb, // mov rbx, r9        envp
  0xb8, 0xb3, 0x01, 0x00, 0x00, // mov eax, 435 (clone3)
  0x0f, 0x05, // syscall
  0x48, 0x85, 0xc0, // test rax, rax
  0x74, 0x08, // jz child
  0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5b, // pop r14; pop r13; pop r12; pop rbx
  0xc3, // ret
  // child:
  0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31, 0xd2, // edi = esi = edx = r10d = 0: PTRACE_TRACEME
  0xb8, 0x65, 0x00, 0x00, 0x00, 0x0f, 0x05, // mov eax, 101 (ptrace); syscall
  0x44, 0x89, 0xe7, // mov edi, r12d
  0x4c, 0x89, 0xee, // mov rsi, r13
  0x4c, 0x89, 0xf2, // mov rdx, r14
  0x49, 0x89, 0xda, // mov r10, rbx
  0x41, 0xb8, 0x00, 0x10, 0x00, 0x00, // mov r8d, AT_EMPTY_PATH
  0xb8, 0x42, 0x01, 0x00, 0x00, 0x0f, 0x05, // mov eax, 322 (execveat); syscall
  0xbf, 0x7f, 0x00, 0x00, 0x00, // mov edi, 127
  0xb8, 0x3c, 0x00, 0x00, 0x00, 0x0f, 0x05, // mov eax, 60 (exit); syscall
]; // biome-ignore format: one instruction a line

let spawnThunk: ReturnType<typeof callable> | undefined;

/** Size of struct clone_args up to cgroup (CLONE_ARGS_SIZE_VER2, include/uapi/linux/sched.h). */
export const CLONE_ARGS_BYTES = 88;

/** struct clone_args as words. `setTid` is the address of an array of pid_t. */
export function cloneArgs(flags: number, exitSignal: number, setTid: number | bigint, setTidCount: number): bigint[] {
  const words = [flags, 0, 0, 0, exitSignal, 0, 0, 0, setTid, setTidCount, 0];
  return words.map((word) => BigInt(word));
}

export interface StubOptions {
  /** The pid it gets. */
  readonly pid: number;
  /** Make it a sibling: a child of our own parent. */
  readonly sibling: boolean;
  /** Where the agent goes to live, and how much room it gets there. Free in the stub and in the task it will become. */
  readonly home: { address: number; bytes: number };
}

/**
 * Starts a stub and moves its agent to `home`, in anonymous memory, since the stub's own file must be unmapped before
 * /proc/PID/exe can change (kernel/sys.c, prctl_set_mm_exe_file). All signals are blocked in it.
 *
 * @throws CriuError when the pid is taken
 */
export function spawnStub(options: StubOptions): HostTask {
  const program = new Program();
  const prot = PROT_READ | PROT_WRITE | PROT_EXEC;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  program.must('make room for the agent', SYS.mmap, options.home.address, options.home.bytes, prot, flags, -1, 0);
  program.stop();
  const memfd = makeMemfd(stubFile(program));
  try {
    startProcess(memfd, options);
  } finally {
    syscall(SYS.close, memfd);
  }
  const stop = waitForStop(options.pid);
  assert(stop !== 'gone', `the stub ${options.pid} stops after execveat`);
  check('ptrace', ptrace(PTRACE_SETOPTIONS, options.pid, 0, PTRACE_O_EXITKILL), `SETOPTIONS, ${options.pid}`);
  const task = new HostTask(options.pid, options.home);
  task.continueInStub(program);
  return task;
}

function makeMemfd(file: Uint8Array): number {
  const name = cString('criu-stub');
  let fd = syscall(SYS.memfd_create, name, MFD_CLOEXEC | MFD_EXEC);
  if (fd === -ERRNO.EINVAL) fd = syscall(SYS.memfd_create, name, MFD_CLOEXEC); // before Linux 6.3
  check('memfd_create', fd);
  check('write', syscall(SYS.write, fd, file, file.length));
  return fd;
}

function startProcess(memfd: number, { pid, sibling }: StubOptions): void {
  const setTid = Int32Array.of(pid);
  const flags = CLONE_VM | CLONE_VFORK | (sibling ? CLONE_PARENT : 0);
  const args = BigUint64Array.from(cloneArgs(flags, sibling ? 0 : SIGCHLD, addressOf(setTid), 1));
  const argv = new BigUint64Array(2);
  const name = cString('criu-stub');
  argv[0] = BigInt(addressOf(name));
  const envp = new BigUint64Array(1);
  const empty = cString('');
  spawnThunk ??= callable(placeCode(SPAWN));
  const old = new BigUint64Array(1);
  // No handler of ours may run in the child, which shares our memory until it executes the stub.
  syscall(SYS.rt_sigprocmask, SIG_SETMASK, BigUint64Array.of(0xffff_ffff_ffff_ffffn), old, 8);
  const result = Number(
    spawnThunk(addressOf(args), CLONE_ARGS_BYTES, memfd, addressOf(empty), addressOf(argv), addressOf(envp), 0),
  );
  syscall(SYS.rt_sigprocmask, SIG_SETMASK, old, 0, 8);
  if (result === -ERRNO.EEXIST) throw pidTaken(pid);
  check('clone3', result, `set_tid ${pid}`);
  assert(result === pid, 'clone3 returns the pid that was asked for');
}

/** The error for a pid that somebody else has. */
export function pidTaken(pid: number): CriuError {
  return new CriuError({
    object: `task ${pid}`,
    action: `cannot be created: pid ${pid} is in use`,
    remedy: 'end the process that has it, or restore in a new pid namespace',
    crErrno: ERRNO.EEXIST,
  });
}
