import { describe, expect, test } from 'bun:test';
import { composeMessage } from '../../base/errors.ts';
import {
  VMA_ANON_PRIVATE,
  VMA_ANON_SHARED,
  VMA_AREA_AIORING,
  VMA_AREA_MEMFD,
  VMA_AREA_REGULAR,
  VMA_AREA_SOCKET,
  VMA_AREA_SYSVIPC,
  VMA_FILE_PRIVATE,
  VMA_FILE_SHARED,
} from '../../image/vma-status.ts';
import { O_RDONLY, O_RDWR } from '../../linux/abi/fcntl.ts';
import { parseSmaps } from '../../proc/smaps.ts';
import { assignFile, type DescribedVma, describeVmas } from './dump-vmas.ts';

/** One mapping as smaps shows it. */
function smaps(line: string, flags: string, pageKb = 4, key = 0): string {
  return `7f0000000000-7f0000200000 ${line}\nKernelPageSize: ${pageKb} kB\nProtectionKey:         ${key}\nVmFlags: ${flags} \n`;
}

function describeOne(line: string, flags: string, pageKb?: number): DescribedVma {
  const { vmas, problems } = describeVmas(parseSmaps(smaps(line, flags, pageKb)), "task 7 'x'");
  expect(problems).toEqual([]);
  const [vma] = vmas;
  if (vma === undefined) throw new Error('there is a mapping');
  return vma;
}

const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_DROPPABLE = 8;
const MAP_ANONYMOUS = 0x20;
const MAP_LOCKED = 0x2000;
const MAP_HUGETLB = 0x40000;
const MAP_HUGE_2MB = 0x54000000;

describe('kinds of mappings', () => {
  test('private anonymous memory, locked on fault and sealed', () => {
    const { entry, needsFile } = describeOne('rw-p 00000000 00:00 0 ', 'rd wr mr mw me lo lf ac sl');
    expect(entry.status).toBe(VMA_AREA_REGULAR | VMA_ANON_PRIVATE);
    expect(entry.flags).toBe(MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED);
    expect(entry).toMatchObject({ lock_on_fault_ext: true, sealed_ext: true });
    expect(needsFile).toBe(false);
  });

  test('all are special but data of private anonymous memory without advice', () => {
    const lines: [isSpecial: boolean, line: string, flags: string][] = [
      [false, 'rw-p 00000000 00:00 0 ', 'rd wr mr mw me ac'],
      [false, '---p 00000000 00:00 0 ', 'mr mw me nr'],
      [true, 'r-xp 00000000 00:00 0 ', 'rd ex mr mw me'],
      [true, 'rw-p 00000000 00:00 0 ', 'rd wr mr mw me dc ac'],
      [true, 'rw-p 00000000 00:00 0 ', 'rd wr mr mw me gd ac'],
      [true, 'rw-p 00000000 00:00 0     [heap]', 'rd wr mr mw me ac'],
      [true, 'rw-p 00000000 08:01 7     /x', 'rd wr mr mw me ac'],
      [true, 'rw-s 00000000 00:01 7     /dev/zero (deleted)', 'rd wr sh mr mw me ms'],
    ];
    const text = lines.map(
      ([, line, flags], i) => `${(i + 1).toString(16)}000-${(i + 2).toString(16)}000 ${line}\nVmFlags: ${flags} \n`,
    );
    const { vmas, special, problems } = describeVmas(parseSmaps(text.join('')), 'x');
    expect(problems).toEqual([]);
    expect(vmas.map((vma) => special.includes(vma))).toEqual(lines.map(([isSpecial]) => isSpecial));
  });

  test('attributes that are not there have no value', () => {
    const { lock_on_fault_ext, sealed_ext, name_ext, madv, fdflags } = describeOne(
      'rw-p 00000000 00:00 0 ',
      'rd wr mr mw me ac',
    ).entry;
    expect([lock_on_fault_ext, sealed_ext, name_ext, madv, fdflags]).toEqual(Array(5).fill(undefined));
  });

  test('a name given by prctl', () => {
    expect(describeOne('rw-p 00000000 00:00 0      [anon:a [b] c]', 'rd wr').entry.name_ext).toBe('a [b] c');
  });

  test('droppable memory is of a type of its own', () => {
    const { entry } = describeOne('rw-p 00000000 00:00 0 ', 'rd wr mr mw me nr wf dd dp');
    expect(entry.flags & 0xf).toBe(MAP_DROPPABLE);
  });

  test('shared anonymous memory, as a memfd', () => {
    const vma = describeOne('rw-s 00003000 00:01 1024     /dev/zero (deleted)', 'rd wr sh mr mw me ms');
    expect(vma.needsFile).toBe(true);
    assignFile(vma, { fileId: 9, fdflags: O_RDWR, isMemory: true });
    expect(vma.entry.status).toBe(VMA_AREA_REGULAR | VMA_FILE_SHARED | VMA_AREA_MEMFD);
    expect(vma.entry).toMatchObject({ flags: MAP_SHARED, pgoff: 0x3000, shmid: 9, fdflags: O_RDWR });
  });

  test('a memfd sealed against writing is mapped for reading, however it was opened', () => {
    const vma = describeOne('r--s 00000000 00:01 1024     /memfd:x (deleted)', 'rd sh mr me ms');
    assignFile(vma, { fileId: 9, fdflags: O_RDWR, isMemory: true });
    expect(vma.entry.fdflags).toBe(O_RDONLY);
  });

  test('a private mapping of a memfd keeps its flags', () => {
    const vma = describeOne('rw-p 00000000 00:01 1024     /memfd:x (deleted)', 'rd wr mr mw me ac');
    assignFile(vma, { fileId: 9, fdflags: O_RDWR, isMemory: true });
    expect(vma.entry.status).toBe(VMA_AREA_REGULAR | VMA_FILE_PRIVATE | VMA_AREA_MEMFD);
    expect(vma.entry.fdflags).toBe(O_RDWR);
  });

  test('huge pages: private ones are anonymous memory, shared ones a memfd', () => {
    const own = describeOne('rw-p 00000000 00:10 55     /anon_hugepage (deleted)', 'rd wr mr mw me de ht', 2048);
    expect(own.entry.flags).toBe((MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB) >>> 0);
    expect(own.entry.status).toBe(VMA_AREA_REGULAR | VMA_ANON_PRIVATE);
    const shared = describeOne(
      'rw-s 00000000 00:10 55     /anon_hugepage (deleted)',
      'rd wr sh mr mw me ms de ht',
      2048,
    );
    expect(shared.entry.flags).toBe((MAP_SHARED | MAP_HUGETLB | MAP_HUGE_2MB) >>> 0);
    expect(shared.needsFile).toBe(true);
  });

  test('a ring of asynchronous I/O', () => {
    const { entry, needsFile } = describeOne('rw-s 00000000 00:12 77     /[aio] (deleted)', 'rd wr sh mr mw me ms de');
    expect(entry).toMatchObject({ status: VMA_AREA_AIORING, flags: MAP_SHARED, pgoff: 0, shmid: 0 });
    expect(needsFile).toBe(false);
  });

  test('a ring of a packet socket', () => {
    const { entry, needsFile } = describeOne('rw-s 00001000 00:09 77     socket:[77]', 'rd wr sh mr mw ms mm');
    expect(entry).toMatchObject({ status: VMA_AREA_REGULAR | VMA_AREA_SOCKET, flags: MAP_SHARED, pgoff: 0x1000 });
    expect(needsFile).toBe(false);
  });

  test('System V shared memory: the inode is its id', () => {
    const { entry } = describeOne('r--s 00002000 00:01 32769     /SYSV00000000 (deleted)', 'rd mr me ms');
    expect(entry.status).toBe(VMA_AREA_REGULAR | VMA_ANON_SHARED | VMA_AREA_SYSVIPC);
    expect(entry).toMatchObject({ shmid: 32769, pgoff: 0x2000, fdflags: O_RDONLY });
  });
});

describe('what cannot be dumped says why, and what helps', () => {
  const unmapped = 'dump when the program has unmapped it';
  const cases: [line: string, flags: string, name: string, reason: string][] = [
    [
      'rw-s 0 00:0e 5     anon_inode:[perf_event]',
      'rd wr',
      ' anon_inode:[perf_event]',
      `anon_inode:[perf_event] is not supported; ${unmapped}`,
    ],
    ['rw-s 0 00:05 5     /dev/mem', 'rd wr io', ' /dev/mem', `it is memory of a device; ${unmapped}`],
    ['rw-s 0 00:05 5     /dev/fb0', 'rd wr', ' /dev/fb0', `it is a mapped device; ${unmapped}`],
    ['rw-p 0 00:00 0 ', 'rd wr um', '', 'it is registered with a userfaultfd; dump when the program has closed that'],
    ['r-xp 0 00:00 0     [uprobes]', 'rd ex', ' [uprobes]', 'uprobes are active in the task; remove the uprobes first'],
    [
      'rw-p 0 00:00 0     [shadow_stack]',
      'rd wr ss',
      ' [shadow_stack]',
      'shadow stacks are not supported; run it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off',
    ],
  ];
  test.each(cases)('%s %s', (line, flags, name, reason) => {
    const { problems } = describeVmas(parseSmaps(smaps(line, flags)), "task 7 'x'");
    expect(problems.map(composeMessage)).toEqual([
      `task 7 'x': mapping 7f0000000000-7f0000200000${name}: cannot be dumped: ${reason}`,
    ]);
  });
});

test('memory with a protection key is refused, unless it can only be executed', () => {
  const problemsOf = (line: string) => describeVmas(parseSmaps(smaps(line, 'rd wr', 4, 1)), 'x').problems;
  expect(problemsOf('--xp 00000000 00:00 0 ')).toEqual([]);
  expect(problemsOf('rw-p 00000000 00:00 0 ').map(composeMessage)).toEqual([
    'x: mapping 7f0000000000-7f0000200000: cannot be dumped: it has a memory protection key (man 7 pkeys); ' +
      'run the program without such keys, if it has an option for that',
  ]);
});
