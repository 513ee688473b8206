/** Takes registers and memory of a process that has stopped itself for its image. */
import { assert } from '../../src/base/errors.ts';
import { PAGE_BYTES } from '../../src/image/pagemap.ts';
import { O_RDONLY } from '../../src/linux/abi/fcntl.ts';
import { PROT_EXEC } from '../../src/linux/abi/mman.ts';
import { PM_FILE_BIT, PM_PRESENT_BIT, PM_SWAP_BIT } from '../../src/linux/abi/pagemap.ts';
import { PTRACE_GET_RSEQ_CONFIGURATION, PTRACE_RSEQ_CONFIGURATION } from '../../src/linux/abi/ptrace.ts';
import { addressOf, check } from '../../src/linux/kernel.ts';
import { close, open, pread, readFile } from '../../src/linux/syscalls/fs.ts';
import { ptrace } from '../../src/linux/syscalls/process.ts';
import { type MapsEntry, parseMaps } from '../../src/proc/maps.ts';
import { CODE_AT, DATA_END, FIRST_FD } from '../../src/start/layout.ts';
import type { SelfDescription } from '../../src/start/start-image.ts';
import { readRegisters } from '../../src/tracee/registers.ts';
import { interrupt, seize, waitForTrap } from '../../src/tracee/stop.ts';

/** Memory whose content is in the image. */
export interface Run {
  readonly address: number;
  readonly bytes: number;
  readonly prot: number;
}

export interface Capture {
  /** Mappings that have to be made, but for those of the executable, which the kernel makes. */
  readonly areas: readonly MapsEntry[];
  /** Mappings of the executable. */
  readonly own: readonly MapsEntry[];
  readonly runs: readonly Run[];
  /** The content of `runs`, one after the other. */
  readonly content: Uint8Array;
  /** struct user_regs_struct as words of 32 bits. */
  readonly registers: Uint32Array;
  readonly rseq: { readonly address: number; readonly bytes: number; readonly signature: number };
  /** Of the epoll descriptor. */
  readonly fdinfo: string;
  readonly self: SelfDescription;
}

/** They are the kernel's, and differ from kernel to kernel; the process of an image uses none of them. */
const OF_THE_KERNEL = new Set(['[vvar]', '[vvar_vclock]', '[vdso]', '[vsyscall]', '[stack]']);

/**
 * Stops the process by ptrace, too. The runtime's constants, from DATA_END on, are left as the kernel has mapped them: in huge
 * pages they would count as memory of criu, and nobody writes to them. `executable`: path of its program. Throws
 * SyscallError.
 */
export function capture(pid: number, executable: string, self: SelfDescription): Capture {
  seize(pid);
  interrupt(pid);
  waitForTrap(pid);
  const mapped = parseMaps(readFile(`/proc/${pid}/maps`)).filter(
    ({ path, start }) => !OF_THE_KERNEL.has(path) && (start < CODE_AT || start > DATA_END),
  );
  const pagemap = open(`/proc/${pid}/pagemap`, O_RDONLY);
  const runs = mapped.flatMap((area) => runsOf(area, area.path === executable, pagemap));
  // The biggest piece of code can be mapped in huge pages where it is first (make.ts).
  const codeBytes = ({ prot, bytes }: Run) => ((prot & PROT_EXEC) === 0 ? 0 : bytes);
  runs.sort((a, b) => codeBytes(b) - codeBytes(a));
  close(pagemap);
  return {
    areas: mapped.filter(({ path }) => path !== executable),
    own: mapped.filter(({ path }) => path === executable),
    runs,
    content: readRuns(pid, runs),
    registers: new Uint32Array(readRegisters(pid).buffer),
    rseq: readRseq(pid),
    fdinfo: readFile(`/proc/${pid}/fdinfo/${FIRST_FD}`),
    self,
  };
}

function readRseq(pid: number): Capture['rseq'] {
  const { bytes, rseq_abi_pointer, rseq_abi_size, signature } = PTRACE_RSEQ_CONFIGURATION;
  const view = new DataView(new ArrayBuffer(bytes));
  const result = ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, bytes, addressOf(new Uint8Array(view.buffer)));
  check('ptrace', result, 'GET_RSEQ_CONFIGURATION');
  return {
    address: Number(view.getBigUint64(rseq_abi_pointer, true)),
    bytes: view.getUint32(rseq_abi_size, true),
    signature: view.getUint32(signature, true),
  };
}

function readRuns(pid: number, runs: readonly Run[]): Uint8Array {
  const content = new Uint8Array(runs.reduce((sum, { bytes }) => sum + bytes, 0));
  const memory = open(`/proc/${pid}/mem`, O_RDONLY);
  let at = 0;
  for (const { address, bytes } of runs) {
    const got = pread(memory, content.subarray(at, at + bytes), address);
    assert(got === bytes, `memory at ${address.toString(16)} can be read`);
    at += bytes;
  }
  close(memory);
  return content;
}

/** So many pages between two that have content are taken with them: a mapping costs more than their room in the file, 3 µs. */
const GAP_PAGES = 512;
/** Pages looked at in one go: of an address space of which most is empty. */
const PAGES_AT_ONCE = 1 << 18;

/**
 * What has to be taken of a mapping: of libraries everything, so that those of the machine do not matter; of other memory the
 * pages that were written.
 */
function runsOf({ start, end, prot, path }: MapsEntry, isOwn: boolean, pagemap: number): Run[] {
  if (prot === 0) return [];
  if (path !== '' && path !== '[heap]' && !isOwn) return [{ address: start, bytes: end - start, prot }];
  const runs: Run[] = [];
  let [first, last] = [-1, -1];
  const finish = () => {
    if (first >= 0) runs.push({ address: first, bytes: last + PAGE_BYTES - first, prot });
  };
  for (let from = start; from < end; from += PAGES_AT_ONCE * PAGE_BYTES) {
    const words = readPagemap(pagemap, from, Math.min(PAGES_AT_ONCE, (end - from) / PAGE_BYTES));
    for (let i = 0; i < words.length; i++) {
      if (!isOwnPage(words[i] ?? 0n)) continue;
      const page = from + i * PAGE_BYTES;
      if (first < 0 || page - last > GAP_PAGES * PAGE_BYTES) {
        finish();
        first = page;
      }
      last = page;
    }
  }
  finish();
  return runs;
}

/** The words of /proc/PID/pagemap for `pages` pages from an address on. */
export function readPagemap(pagemap: number, address: number, pages: number): BigUint64Array {
  const words = new BigUint64Array(pages);
  const got = pread(pagemap, new Uint8Array(words.buffer), (address / PAGE_BYTES) * 8);
  assert(got === words.byteLength, 'pagemap can be read');
  return words;
}

const bit = (number: number) => 1n << BigInt(number);
const PRESENT = bit(PM_PRESENT_BIT);
const PRESENT_OR_SWAPPED = PRESENT | bit(PM_SWAP_BIT);
const OF_FILE = bit(PM_FILE_BIT);

/** A page that has been read. */
export const isPresent = (word: bigint): boolean => (word & PRESENT) !== 0n;

/** A page that belongs to the process alone, not to a file. */
export const isOwnPage = (word: bigint): boolean => (word & PRESENT_OR_SWAPPED) !== 0n && (word & OF_FILE) === 0n;
