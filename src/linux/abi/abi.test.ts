/**
 * Goal: every constant here equals the system's headers.
 * Method: a C program, made from the names that the modules export, prints what the headers say; names that the
 * installed headers do not know yet are passed over, but not many may be. Layouts are checked with offsetof.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IO_EVENT_BYTES, IOCB_BYTES } from './aio.ts';
import { CAP_LAST_CAP, CAPABILITY_NAMES, capabilityName } from './capability.ts';
import { ELF_32, ELF_64 } from './elf.ts';
import { ERRNO, errnoName } from './errno.ts';
import { FIEMAP_BYTES, FIEMAP_EXTENT_BYTES } from './fs-ioctl.ts';
import { ROBUST_LIST_HEAD_BYTES } from './futex.ts';
import { MOUNT_ATTR } from './mount.ts';
import { PAGE_REGION, PM_SCAN_ARG, PROCMAP_QUERY_STRUCT } from './pagemap.ts';
import { PRCTL_MM_MAP, PRCTL_MM_MAP_BYTES } from './prctl.ts';
import {
  PTRACE_PEEKSIGINFO_ARGS,
  PTRACE_RSEQ_CONFIGURATION,
  PTRACE_SUD_CONFIG,
  SECCOMP_METADATA,
  USER_REGS,
  USER_REGS_BYTES,
} from './ptrace.ts';
import { RSEQ, RSEQ_CS } from './rseq.ts';
import { CLONE_ARGS } from './sched.ts';
import { SOCK_FILTER_BYTES } from './seccomp.ts';
import { SIGEVENT_BYTES, SIGINFO_BYTES, STACK_T, STACK_T_BYTES, signalName } from './signal.ts';
import { STATFS } from './statfs.ts';
import { SYS, syscallName } from './syscall-numbers.ts';
import { ITIMERSPEC_BYTES, TIMESPEC_BYTES } from './time.ts';
import { TERMIOS, TERMIOS_BYTES, TERMIOS2_BYTES, WINSIZE_BYTES } from './tty.ts';
import { UFFD_MSG_BYTES } from './userfaultfd.ts';
import * as wait from './wait.ts';

const HEADERS = [
  'stddef.h linux/types.h linux/version.h asm/unistd.h asm/errno.h asm/signal.h asm/siginfo.h linux/ptrace.h',
  'asm/ptrace.h linux/elf.h linux/mman.h linux/memfd.h linux/sched.h linux/sched/types.h asm/fcntl.h linux/fcntl.h',
  'linux/openat2.h linux/close_range.h linux/stat.h linux/fs.h linux/fiemap.h linux/prctl.h asm/prctl.h',
  'linux/securebits.h linux/wait.h linux/resource.h linux/time.h linux/timerfd.h linux/capability.h linux/filter.h',
  'linux/seccomp.h linux/magic.h linux/rseq.h linux/membarrier.h linux/futex.h linux/ipc.h linux/shm.h linux/sem.h',
  'linux/msg.h linux/bpf.h linux/if_tun.h linux/rtnetlink.h linux/if_addr.h linux/veth.h linux/fib_rules.h linux/neighbour.h linux/sockios.h linux/aio_abi.h linux/userfaultfd.h linux/auxvec.h asm/auxvec.h asm/ioctls.h asm/termbits.h',
  'asm/termios.h linux/serial.h linux/tty.h linux/kcmp.h linux/pidfd.h linux/mount.h linux/nsfs.h linux/eventpoll.h',
  'linux/inotify.h linux/fanotify.h linux/eventfd.h linux/signalfd.h linux/limits.h linux/personality.h asm/statfs.h',
  'linux/bpf.h linux/if_packet.h linux/in.h linux/in6.h linux/tcp.h linux/udp.h linux/netlink.h',
  'asm/socket.h linux/net_tstamp.h',
].flatMap((line) => line.split(' '));

/** Not macros, so #ifdef cannot ask for them; the second list came after Linux 6.1. */
const ENUMERATORS =
  /^(NDA_|VETH_|IFLA_|IFA_(?!F_)|RTA_|FRA_|TCA_|BPF_|KCMP_|MEMBARRIER_CMD_|RSEQ_FLAG_|RSEQ_CPU_ID_|IOCB_CMD_|FSCONFIG_|PROCMAP_QUERY_)(?!GET_REGISTRATIONS|CMD_CREATE_EXCL|VMA_|COVERING|FILE_BACKED)/;
const NEWER_ENUMERATORS =
  /^(MEMBARRIER_CMD_GET_REGISTRATIONS|FSCONFIG_CMD_CREATE_EXCL|PROCMAP_QUERY_(VMA|COVERING|FILE_BACKED)_.*)$/;

/** Differ from the headers on purpose, or by a definition that is no number. */
const NOT_COMPARED = new Set(['PIDFD_GET_INFO', 'SIGRTMAX', 'SIGRTMIN', 'EWOULDBLOCK', 'EDEADLOCK', 'MOUNT_ATTR']);

interface Layout {
  readonly type: string;
  readonly bytes?: number;
  readonly offsets?: Readonly<Record<string, number>>;
  /** Version of the headers that knows it. */
  readonly since?: string;
}

const { bytes: PM_SCAN_BYTES, ...PM_SCAN_OFFSETS } = PM_SCAN_ARG;
const { bytes: PAGE_REGION_BYTES, ...PAGE_REGION_OFFSETS } = PAGE_REGION;
const { bytes: PROCMAP_BYTES, ...PROCMAP_OFFSETS } = PROCMAP_QUERY_STRUCT;
const { bytes: MOUNT_ATTR_BYTES, ...MOUNT_ATTR_OFFSETS } = MOUNT_ATTR;
const { bytes: RSEQ_CONFIG_BYTES, ...RSEQ_CONFIG_OFFSETS } = PTRACE_RSEQ_CONFIGURATION;
const { bytes: PEEK_BYTES, ...PEEK_OFFSETS } = PTRACE_PEEKSIGINFO_ARGS;
const { bytes: SUD_BYTES, ...SUD_OFFSETS } = PTRACE_SUD_CONFIG;
const { bytes: METADATA_BYTES, ...METADATA_OFFSETS } = SECCOMP_METADATA;
const { bytes: RSEQ_CS_BYTES, ...RSEQ_CS_OFFSETS } = RSEQ_CS;
const { cpu_id_start, cpu_id, rseq_cs, flags: rseqFlags, bytes: RSEQ_BYTES } = RSEQ;
const { bytes: STATFS_BYTES, ...STATFS_OFFSETS } = STATFS;
/** The kernel's header calls the registers otherwise than ptrace(2) does in two cases. */
const USER_REGS_OFFSETS = Object.fromEntries(
  Object.entries(USER_REGS)
    .slice(0, 21)
    .map(([name, index]) => [name, 8 * index]),
);

const layoutOf = (type: string, { bytes, ...offsets }: Record<string, number> & { bytes: number }): Layout => ({
  type,
  bytes,
  offsets,
});

const LAYOUTS: readonly Layout[] = [
  layoutOf('Elf64_Ehdr', ELF_64.header),
  layoutOf('Elf64_Phdr', ELF_64.segment),
  layoutOf('Elf64_Sym', ELF_64.symbol),
  layoutOf('Elf32_Ehdr', ELF_32.header),
  layoutOf('Elf32_Phdr', ELF_32.segment),
  layoutOf('Elf32_Sym', ELF_32.symbol),
  { type: 'struct clone_args', bytes: 88, offsets: CLONE_ARGS },
  { type: 'struct prctl_mm_map', bytes: PRCTL_MM_MAP_BYTES, offsets: PRCTL_MM_MAP },
  { type: 'struct pm_scan_arg', bytes: PM_SCAN_BYTES, offsets: PM_SCAN_OFFSETS, since: '6,7,0' },
  { type: 'struct page_region', bytes: PAGE_REGION_BYTES, offsets: PAGE_REGION_OFFSETS, since: '6,7,0' },
  { type: 'struct procmap_query', bytes: PROCMAP_BYTES, offsets: PROCMAP_OFFSETS, since: '6,11,0' },
  { type: 'struct mount_attr', bytes: MOUNT_ATTR_BYTES, offsets: MOUNT_ATTR_OFFSETS },
  { type: 'struct ptrace_rseq_configuration', bytes: RSEQ_CONFIG_BYTES, offsets: RSEQ_CONFIG_OFFSETS },
  { type: 'struct ptrace_peeksiginfo_args', bytes: PEEK_BYTES, offsets: PEEK_OFFSETS },
  { type: 'struct ptrace_sud_config', bytes: SUD_BYTES, offsets: SUD_OFFSETS, since: '6,4,0' },
  { type: 'struct seccomp_metadata', bytes: METADATA_BYTES, offsets: METADATA_OFFSETS },
  { type: 'struct rseq', bytes: RSEQ_BYTES, offsets: { cpu_id_start, cpu_id, rseq_cs, flags: rseqFlags } },
  { type: 'struct rseq_cs', bytes: RSEQ_CS_BYTES, offsets: RSEQ_CS_OFFSETS },
  { type: 'struct statfs', bytes: STATFS_BYTES, offsets: STATFS_OFFSETS },
  { type: 'stack_t', bytes: STACK_T_BYTES, offsets: STACK_T },
  { type: 'siginfo_t', bytes: SIGINFO_BYTES },
  { type: 'struct sigevent', bytes: SIGEVENT_BYTES },
  { type: 'struct fiemap', bytes: FIEMAP_BYTES },
  { type: 'struct fiemap_extent', bytes: FIEMAP_EXTENT_BYTES },
  { type: 'struct iocb', bytes: IOCB_BYTES },
  { type: 'struct io_event', bytes: IO_EVENT_BYTES },
  { type: 'struct robust_list_head', bytes: ROBUST_LIST_HEAD_BYTES },
  { type: 'struct sock_filter', bytes: SOCK_FILTER_BYTES },
  { type: 'struct termios', bytes: TERMIOS_BYTES },
  { type: 'struct termios2', bytes: TERMIOS2_BYTES, offsets: TERMIOS },
  { type: 'struct winsize', bytes: WINSIZE_BYTES },
  { type: 'struct uffd_msg', bytes: UFFD_MSG_BYTES },
  { type: 'struct __kernel_timespec', bytes: TIMESPEC_BYTES },
  { type: 'struct __kernel_itimerspec', bytes: ITIMERSPEC_BYTES },
  { type: 'struct pt_regs', bytes: 8 * 21, offsets: USER_REGS_OFFSETS },
];

/** All numbers that the modules of this folder export, by name; system calls and errors by their C names. */
async function exportedNumbers(): Promise<Map<string, bigint>> {
  const numbers = new Map<string, bigint>();
  for (const name of readdirSync(import.meta.dir)) {
    if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue;
    const module: Record<string, unknown> = await import(join(import.meta.dir, name));
    for (const [key, value] of Object.entries(module)) {
      const isNumber = typeof value === 'number' || typeof value === 'bigint';
      if (isNumber && !NOT_COMPARED.has(key)) numbers.set(key, BigInt(value));
    }
  }
  for (const [name, value] of Object.entries(SYS)) numbers.set(`__NR_${name}`, BigInt(value));
  for (const [name, value] of Object.entries(ERRNO)) numbers.set(name, BigInt(value));
  return numbers;
}

function printLine(name: string): string {
  const print = `printf("${name} %lld\\n", (long long)(${name}));`;
  if (NEWER_ENUMERATORS.test(name)) return `#if LINUX_VERSION_CODE >= KERNEL_VERSION(6,11,0)\n${print}\n#endif`;
  return ENUMERATORS.test(name) ? print : `#ifdef ${name}\n${print}\n#endif`;
}

function printLayout(layout: Layout): string {
  const { type, bytes, offsets = {}, since } = layout;
  const lines = bytes === undefined ? [] : [`printf("${type}|sizeof %zu\\n", sizeof(${type}));`];
  for (const field of Object.keys(offsets)) {
    lines.push(`printf("${type}|${field} %zu\\n", offsetof(${type}, ${field}));`);
  }
  const body = lines.join('\n');
  return since === undefined ? body : `#if LINUX_VERSION_CODE >= KERNEL_VERSION(${since})\n${body}\n#endif`;
}

const compiler = Bun.which('cc');
const directory = mkdtempSync(join(tmpdir(), 'criu-abi-'));

function runProgram(statements: readonly string[]): Map<string, string> {
  const source = join(directory, 'abi.c');
  const program = join(directory, 'abi');
  const includes = HEADERS.map((header) => `#if __has_include(<${header}>)\n#include <${header}>\n#endif`);
  const main = ['int printf(const char *, ...);', 'int main(void) {', ...statements, 'return 0; }'];
  writeFileSync(source, `${[...includes, ...main].join('\n')}\n`);
  const cc = Bun.spawnSync(['cc', '-w', '-o', program, source]);
  if (cc.exitCode !== 0) throw new Error(`cc failed: ${cc.stderr.toString().slice(0, 2000)}`);
  const lines = Bun.spawnSync([program]).stdout.toString().trim().split('\n');
  return new Map(
    lines.map((line): [string, string] => [
      line.slice(0, line.lastIndexOf(' ')),
      line.slice(line.lastIndexOf(' ') + 1),
    ]),
  );
}

afterAll(() => rmSync(directory, { recursive: true }));

describe.skipIf(compiler === null)('against the system headers (skipped when there is no cc)', () => {
  let numbers = new Map<string, bigint>();
  let printed = new Map<string, string>();

  beforeAll(async () => {
    numbers = await exportedNumbers();
    printed = runProgram([...[...numbers.keys()].map(printLine), ...LAYOUTS.map(printLayout)]);
  });

  test('every constant that the headers know has their value', () => {
    const wrong: string[] = [];
    let compared = 0;
    for (const [name, value] of numbers) {
      const text = printed.get(name);
      if (text === undefined) continue;
      compared++;
      if (BigInt.asIntN(64, value) !== BigInt(text)) wrong.push(`${name}: ${value}, the headers say ${text}`);
    }
    expect(wrong).toEqual([]);
    expect(compared).toBeGreaterThan(numbers.size * 0.8);
  });

  test('every layout has the offsets and the size of the headers', () => {
    const wrong: string[] = [];
    for (const { type, bytes, offsets = {} } of LAYOUTS) {
      for (const [field, value] of Object.entries({ ...offsets, ...(bytes !== undefined && { sizeof: bytes }) })) {
        const text = printed.get(`${type}|${field}`);
        if (text !== undefined && String(value) !== text) wrong.push(`${type}.${field}: ${value}, not ${text}`);
      }
    }
    expect(wrong).toEqual([]);
    expect(printed.get('struct prctl_mm_map|exe_fd')).toBe('100');
  });
});

describe('names for logs', () => {
  test('system calls', () => {
    expect([0, 435, 470, 400, -1].map(syscallName)).toEqual(['read', 'clone3', 'listns', 'syscall 400', 'syscall -1']);
  });

  test('errors, also those that only a tracer sees', () => {
    expect([1, 11, 35, 95, 512, 516, 600].map(errnoName)).toEqual([
      'EPERM',
      'EAGAIN',
      'EDEADLK',
      'EOPNOTSUPP',
      'ERESTARTSYS',
      'ERESTART_RESTARTBLOCK',
      'errno 600',
    ]);
  });

  test('signals', () => {
    expect([9, 31, 32, 35, 64, 65].map(signalName)).toEqual([
      'SIGKILL',
      'SIGSYS',
      'SIGRTMIN',
      'SIGRTMIN+3',
      'SIGRTMIN+32',
      'signal 65',
    ]);
  });

  test('capabilities are complete and in order', () => {
    expect(CAP_LAST_CAP + 1).toBe(CAPABILITY_NAMES.length);
    expect([0, 21, 40, 41].map(capabilityName)).toEqual([
      'CAP_CHOWN',
      'CAP_SYS_ADMIN',
      'CAP_CHECKPOINT_RESTORE',
      'capability 41',
    ]);
  });
});

describe('wait status', () => {
  test('exit', () => {
    const status = 42 << 8;
    expect([wait.WIFEXITED(status), wait.WIFSIGNALED(status), wait.WIFSTOPPED(status)]).toEqual([true, false, false]);
    expect(wait.WEXITSTATUS(status)).toBe(42);
  });

  test('death by signal, with core', () => {
    const status = 11 | 0x80;
    expect([wait.WIFEXITED(status), wait.WIFSIGNALED(status), wait.WIFSTOPPED(status)]).toEqual([false, true, false]);
    expect([wait.WTERMSIG(status), wait.WCOREDUMP(status), wait.WCOREDUMP(9)]).toEqual([11, true, false]);
  });

  test('stop, syscall stop and ptrace event', () => {
    const stop = (19 << 8) | 0x7f;
    expect([wait.WIFSTOPPED(stop), wait.WSTOPSIG(stop), wait.ptraceEvent(stop)]).toEqual([true, 19, 0]);
    expect(wait.WSTOPSIG((0x85 << 8) | 0x7f)).toBe(5 | 0x80);
    const event = (128 << 16) | (5 << 8) | 0x7f;
    expect([wait.WIFSTOPPED(event), wait.WSTOPSIG(event), wait.ptraceEvent(event)]).toEqual([true, 5, 128]);
  });

  test('continued is neither exit nor stop', () => {
    expect([wait.WIFCONTINUED(0xffff), wait.WIFSTOPPED(0xffff), wait.WIFSIGNALED(0xffff)]).toEqual([
      true,
      false,
      false,
    ]);
  });
});

test('struct user_regs_struct has 27 registers', () => {
  expect(8 * Object.keys(USER_REGS).length).toBe(USER_REGS_BYTES);
});
