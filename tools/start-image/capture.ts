/** Takes the memory and the registers of a process that has stopped itself for it, and plans how to make them again. */

import { resumeCode } from '../../src/agent/agent-code.ts';
import { Program } from '../../src/agent/program.ts';
import { assert } from '../../src/base/errors.ts';
import { PTRACE_GET_RSEQ_CONFIGURATION, PTRACE_RSEQ_CONFIGURATION, USER_REGS } from '../../src/linux/abi/ptrace.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { addressOf, check } from '../../src/linux/kernel.ts';
import { open, pread, readFile } from '../../src/linux/syscalls/fs.ts';
import { ptrace } from '../../src/linux/syscalls/process.ts';
import { type MapsEntry, parseMaps } from '../../src/proc/maps.ts';
import { CODE_AT, DATA_AT, FIRST_FD } from '../../src/start/layout.ts';
import type { SelfDescription } from '../../src/start/start-image.ts';
import { readRegisters } from '../../src/tracee/registers.ts';
import { interrupt, seize, waitForTrap } from '../../src/tracee/stop.ts';
import { FILE_FD, PROGRAM_AT, RESUME_AT } from './launcher.ts';

const PAGE = 4096;
const MAP = { private: 2, fixed: 0x10, anonymous: 0x20, noReserve: 0x4000 };

interface Run {
  readonly address: number;
  readonly bytes: number;
  readonly prot: number;
}

export interface Capture {
  readonly areas: readonly MapsEntry[];
  readonly runs: readonly Run[];
  readonly read: (run: Run) => Uint8Array;
  readonly registers: Uint32Array;
  readonly rseq: { address: number; bytes: number; signature: number };
  readonly fdinfo: string;
  readonly self: SelfDescription;
}

const SKIPPED = new Set(['[vvar]', '[vvar_vclock]', '[vdso]', '[vsyscall]', '[stack]']);

/** `executable`: path of the program that the process executes. */
export function capture(pid: number, executable: string, self: SelfDescription): Capture {
  seize(pid);
  interrupt(pid);
  waitForTrap(pid);
  const registers = readRegisters(pid);
  const config = new Uint8Array(PTRACE_RSEQ_CONFIGURATION.bytes);
  check('ptrace', ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, config.length, addressOf(config)));
  const view = new DataView(config.buffer);
  const rseq = {
    address: Number(view.getBigUint64(0, true)),
    bytes: view.getUint32(8, true),
    signature: view.getUint32(12, true),
  };
  const areas = parseMaps(readFile(`/proc/${pid}/maps`)).filter(
    ({ path, start }) => !SKIPPED.has(path) && !(start >= CODE_AT && start < DATA_AT + 0x10000),
  );
  const memory = open(`/proc/${pid}/mem`, 0);
  const pagemap = open(`/proc/${pid}/pagemap`, 0);
  const runs: Run[] = [];
  for (const area of areas) runs.push(...runsOf(area, area.path === executable, pagemap));
  const read = ({ address, bytes }: Run) => {
    const data = new Uint8Array(bytes);
    const got = pread(memory, data, address);
    assert(got === bytes, `memory at ${address.toString(16)} can be read`);
    return data;
  };
  const fdinfo = readFile(`/proc/${pid}/fdinfo/${FIRST_FD}`);
  return { areas, runs, read, registers: new Uint32Array(registers.buffer), rseq, fdinfo, self };
}

/** Gaps of so many pages between pages are written with them: a mapping costs more than their room in the file. */
const GAP = 16;

function runsOf(area: MapsEntry, isOwn: boolean, pagemap: number): Run[] {
  const { start, end, prot, path } = area;
  if (prot === 0) return [];
  if (path !== '' && path !== '[heap]' && !isOwn) return [{ address: start, bytes: end - start, prot }];
  const runs: Run[] = [];
  const CHUNK = 1 << 18;
  let run: { first: number; last: number } | undefined;
  const flush = () => {
    if (run !== undefined) runs.push({ address: run.first, bytes: run.last + PAGE - run.first, prot });
  };
  for (let from = start; from < end; from += CHUNK * PAGE) {
    const count = Math.min(CHUNK, (end - from) / PAGE);
    const words = new BigUint64Array(count);
    const bytes = new Uint8Array(words.buffer);
    assert(pread(pagemap, bytes, (from / PAGE) * 8) === bytes.length, 'pagemap is read');
    for (let i = 0; i < count; i++) {
      const word = words[i] ?? 0n;
      const isThere = (word & (3n << 62n)) !== 0n && (word & (1n << 61n)) === 0n;
      if (!isThere) continue;
      const page = from + i * PAGE;
      if (run !== undefined && page - run.last <= GAP * PAGE) run.last = page;
      else {
        flush();
        run = { first: page, last: page };
      }
    }
  }
  flush();
  return runs;
}

export interface StartPlan {
  readonly program: Uint8Array;
}

/** The program that makes the process again; `fileOffset` is where the runs begin in the executable, in their order. */
export function planStart(capture: Capture, executable: string, fileOffset: number): Uint8Array {
  const { areas, runs, self, registers, rseq, fdinfo } = capture;
  const p = new Program();
  for (const { start, end, prot, path } of areas) {
    if (path === executable) continue;
    const flags = MAP.private | MAP.fixed | MAP.anonymous | MAP.noReserve;
    if (runs.some(({ address, bytes }) => address === start && bytes === end - start)) continue;
    p.must('map', SYS.mmap, start, end - start, prot, flags, -1, 0);
  }
  let at = fileOffset;
  for (const { address, bytes, prot } of runs) {
    p.must('map', SYS.mmap, address, bytes, prot, MAP.private | MAP.fixed, FILE_FD, at);
    at += bytes;
  }
  p.call(SYS.close, FILE_FD);
  const fsBase = registers[USER_REGS.fs_base * 2]! + registers[USER_REGS.fs_base * 2 + 1]! * 2 ** 32;
  p.must('tls', SYS.arch_prctl, 0x1002, fsBase);
  const tid = p.must('tid', SYS.set_tid_address, BigInt(self.tidAddress));
  p.store32(BigInt(self.tidAddress), tid);
  p.call(SYS.set_robust_list, BigInt(self.robustList[0]!), BigInt(self.robustList[1]!));
  p.call(SYS.rseq, rseq.address, rseq.bytes, 0, rseq.signature);
  const [sp, flagsOf, size] = self.altStack.map(BigInt);
  p.call(SYS.sigaltstack, p.words(sp!, flagsOf! & 0xffffffffn, size!), 0);
  for (const [signal, ...words] of self.actions) {
    p.must('action', SYS.rt_sigaction, Number(signal), p.words(...words.map(BigInt)), 0, 8);
  }
  const data = /data:\s*([0-9a-f]+)/.exec(fdinfo)?.[1];
  const events = /events:\s*([0-9a-f]+)/.exec(fdinfo)?.[1];
  assert(data !== undefined && events !== undefined, 'epoll has a target');
  const event = new Uint8Array(12);
  new DataView(event.buffer).setUint32(0, Number.parseInt(events, 16), true);
  new DataView(event.buffer).setBigUint64(4, BigInt(`0x${data}`), true);
  p.must('epoll', SYS.epoll_ctl, FIRST_FD, 1, FIRST_FD + 1, p.data(event));
  p.leave(RESUME_AT);
  return p.assemble(PROGRAM_AT);
}

/** Code with which the process goes on after its system call, which returns 1. */
export function resumeFrom(registers: Uint32Array): Uint8Array {
  const back = new Uint32Array(registers);
  back[USER_REGS.rax * 2] = 1;
  back[USER_REGS.rax * 2 + 1] = 0;
  return resumeCode(back, {});
}
