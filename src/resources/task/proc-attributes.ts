/**
 * Attributes of a process that live in files of /proc: oom_score_adj, loginuid, coredump_filter. The controller reads
 * and writes them, but loginuid can be written by the task itself only (fs/proc/base.c, proc_loginuid_write).
 */
import type { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import { ERRNO, errnoName } from '../../linux/abi/errno.ts';
import { AT_FDCWD, O_WRONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { tryReadProc, tryWriteFile } from '../../linux/syscalls/fs.ts';
import { LOGINUID_UNSET, parseCoredumpFilter, parseLoginuid, parseOomScoreAdj } from '../../proc/small.ts';

/** MMF_DUMP_FILTER_DEFAULT: anonymous memory, ELF headers and private huge pages (man 5 core). */
export const COREDUMP_FILTER_DEFAULT = 0x33;

export interface ProcAttributes {
  readonly oomScoreAdj: number;
  /** Undefined when the kernel was built without audit. */
  readonly loginuid: number | undefined;
  readonly coredumpFilter: number;
}

export function readProcAttributes(pid: number): ProcAttributes {
  const read = <T>(name: string, parse: (text: string, file: string) => T, absent: T): T => {
    const file = `/proc/${pid}/${name}`;
    const text = tryReadProc(file);
    return typeof text === 'string' ? parse(text, file) : absent;
  };
  return {
    oomScoreAdj: read('oom_score_adj', parseOomScoreAdj, 0),
    loginuid: read<number | undefined>('loginuid', parseLoginuid, undefined),
    coredumpFilter: read('coredump_filter', parseCoredumpFilter, COREDUMP_FILTER_DEFAULT),
  };
}

/**
 * Writes what differs. Lowering oom_score_adj below the lowest value that the process was given needs CAP_SYS_RESOURCE;
 * a restore goes on without. Returns warnings.
 *
 * @throws CriuError when a file can't be written for another reason
 */
export function writeProcAttributes(
  pid: number,
  wanted: { oomScoreAdj: number | undefined; coredumpFilter: number | undefined },
): string[] {
  const now = readProcAttributes(pid);
  const warnings: string[] = [];
  const { oomScoreAdj, coredumpFilter } = wanted;
  if (oomScoreAdj !== undefined && oomScoreAdj !== now.oomScoreAdj) {
    const result = tryWriteFile(`/proc/${pid}/oom_score_adj`, `${oomScoreAdj}`, O_WRONLY);
    if (result === -ERRNO.EACCES) {
      warnings.push(`oom_score_adj stays ${now.oomScoreAdj} instead of ${oomScoreAdj}: no CAP_SYS_RESOURCE`);
    } else if (result < 0) throw cannotWrite(pid, 'oom_score_adj', -result);
  }
  if (coredumpFilter !== undefined && coredumpFilter !== now.coredumpFilter) {
    const result = tryWriteFile(`/proc/${pid}/coredump_filter`, `0x${coredumpFilter.toString(16)}`, O_WRONLY);
    if (result < 0) throw cannotWrite(pid, 'coredump_filter', -result);
  }
  return warnings;
}

function cannotWrite(pid: number, name: string, errno: number): CriuError {
  return new CriuError({ object: `task ${pid}`, action: `cannot write /proc/${pid}/${name} (${errnoName(errno)})` });
}

/**
 * Sets the audit id when it differs from what the task inherited from criu. The mounts must still be criu's: the program
 * opens /proc.
 */
export function planLoginuid(program: Program, wanted: number | undefined, now: number | undefined): void {
  if (wanted === undefined || now === undefined || wanted === now) return;
  const text = wanted === LOGINUID_UNSET ? '-1' : `${wanted}`;
  const path = program.string('/proc/thread-self/loginuid');
  const fd = program.must('open loginuid', SYS.openat, AT_FDCWD, path, O_WRONLY);
  program.must(`set loginuid ${text}`, SYS.write, fd, program.string(text), text.length);
  program.must('close loginuid', SYS.close, fd);
}
