/** Probes that need a process with memory of its own: they run in a stub. */
import { Program } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../linux/abi/mman.ts';
import { SIGKILL, SIGTRAP } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { readFile, tryReadFile } from '../linux/syscalls/fs.ts';
import { kill, tryWait } from '../linux/syscalls/process.ts';
import { parseMaps } from '../proc/maps.ts';
import { type HostTask, homeBytes } from '../tracee/host.ts';
import { writeMemory } from '../tracee/memory.ts';
import { readRegisters, register, setRegister, writeRegisters } from '../tracee/registers.ts';
import { resume, waitForStop } from '../tracee/stop.ts';
import { spawnStub } from '../tracee/stub.ts';
import type { Missing } from './probe.ts';

/** Below 4 GiB, where nothing else of a stub is. */
const HOME = { address: 0x2000_0000, bytes: homeBytes(16 * 1024) };
const PARKING = 0x3000_0000;
const TRIES = 50;

/** Calls `use` with a stub of any pid and kills it afterwards. */
function withStub(use: (stub: HostTask) => Missing): Missing {
  const stub = spawnAnywhere();
  try {
    return use(stub);
  } finally {
    kill(stub.pid, SIGKILL);
    tryWait(stub.pid);
  }
}

/** A stub gets the pid that it is told; so try those that the kernel would give next. */
function spawnAnywhere(): HostTask {
  const last = Number(readFile('/proc/loadavg').trim().split(' ').at(-1));
  const limit = Number(tryReadFile('/proc/sys/kernel/pid_max'));
  let taken: unknown;
  for (let i = 1; i <= TRIES; i++) {
    const pid = ((last + 100 + i * 7) % (limit - 300)) + 300;
    try {
      return spawnStub({ pid, sibling: false, home: HOME });
    } catch (error) {
      if (!(error instanceof CriuError && error.crErrno === ERRNO.EEXIST)) throw error;
      taken = error;
    }
  }
  throw taken;
}

/** mremap of the vdso and its data pages (x86-64: 4.8). */
export function probeSpecialMappings(): Missing {
  return withStub((stub) => {
    const special = () =>
      parseMaps(readFile(`/proc/${stub.pid}/maps`)).filter(({ path }) => /^\[(vvar|vdso)/.test(path));
    const before = special();
    const program = new Program();
    let target = PARKING;
    for (const { start, end, path } of before) {
      const bytes = end - start;
      const flags = MREMAP_FIXED | MREMAP_MAYMOVE;
      program.must(`move ${path}`, SYS.mremap, start, bytes, bytes, flags, target);
      target += bytes;
    }
    program.stop();
    stub.run(program);
    const isMoved = special().every(({ start }) => start >= PARKING && start < target);
    return isMoved && special().length === before.length ? undefined : 'the vdso cannot be moved (mremap)';
  });
}

/** mmap2 of the 32-bit system calls: eax 192, int 0x80, int3 for the tracer. */
const MMAP2_32 = Uint8Array.of(0xb8, 0xc0, 0, 0, 0, 0xcd, 0x80, 0xcc);
const PROT_RW = 3;
const MAP_PRIVATE_ANONYMOUS = 0x22;

/** A 64-bit task can do a 32-bit mmap, and its result fits 32 bits (4.12): the start of a 32-bit task. */
export function probeCompatMmap(): Missing {
  return withStub((stub) => {
    writeMemory(stub.pid, stub.programAddress, MMAP2_32);
    const registers = readRegisters(stub.pid);
    const values = { rbx: 0, rcx: 4096, rdx: PROT_RW, rsi: MAP_PRIVATE_ANONYMOUS, rdi: 0xffff_ffff, rbp: 0 } as const;
    for (const [name, value] of Object.entries(values)) setRegister(registers, name as keyof typeof values, value);
    setRegister(registers, 'rip', stub.programAddress);
    setRegister(registers, 'orig_rax', -1n);
    writeRegisters(stub.pid, registers);
    resume(stub.pid);
    const stop = waitForStop(stub.pid);
    if (stop === 'gone' || stop.kind !== 'signal' || stop.signal !== SIGTRAP) {
      return 'the kernel does not run 32-bit programs (CONFIG_IA32_EMULATION)';
    }
    const result = Number(BigInt.asUintN(32, register(readRegisters(stub.pid), 'rax')));
    if (result > 0xffff_f000) return `32-bit mmap: ${errnoName(2 ** 32 - result)}`;
    const isThere = parseMaps(readFile(`/proc/${stub.pid}/maps`)).some(
      ({ start, end }) => start <= result && result < end,
    );
    return isThere ? undefined : '32-bit mmap maps above 4 GiB';
  });
}
