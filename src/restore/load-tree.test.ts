import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ABI_32 } from '../agent/abi.ts';
import type { CoreEntry, TaskCoreEntry } from '../image/gen/core.ts';
import { UserX86FpregsEntry, UserX86RegsEntry, UserX86RegsMode } from '../image/gen/core-x86.ts';
import type { InventoryEntry } from '../image/gen/inventory.ts';
import type { MmEntry } from '../image/gen/mm.ts';
import { ImageDir } from '../image/image-dir.ts';
import type { MessageType } from '../image/message-type.ts';
import { TASK_ALIVE, TASK_DEAD } from '../image/task-state.ts';
import { loadTree } from './load-tree.ts';

let folder = '';
let images: ImageDir;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'criu-load-'));
  images = ImageDir.open(folder);
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const MARCH_X86_64 = 1;

function core(comm: string, task_state: number): CoreEntry {
  const tc = {
    task_state,
    exit_code: 0,
    personality: 0,
    flags: 0,
    blk_sigset: 0n,
    comm,
    sigactions: [],
    sem_undo_ext: [],
  };
  return { mtype: MARCH_X86_64, tc };
}

const MM = Object.fromEntries(
  [
    'start_code',
    'end_code',
    'start_data',
    'end_data',
    'start_stack',
    'start_brk',
    'brk',
    'arg_start',
    'arg_end',
    'env_start',
    'env_end',
  ].map((name) => [`mm_${name}`, 0]),
);

function writeTask(pid: number): void {
  images.write('core', pid, [core(`task${pid}`, TASK_ALIVE)]);
  images.write('ids', pid, [{ vm_id: pid, files_id: 2, fs_id: pid, sighand_id: pid }]);
  images.write('mm', pid, [{ ...MM, exe_file_id: 1, mm_saved_auxv: [], vmas: [], aios: [] } as unknown as MmEntry]);
  images.write('pagemap', pid, { head: { pages_id: 1 }, entries: [] });
  images.write('fs', pid, [{ cwd_id: 1, root_id: 1 }]);
}

function writeTree(inventory: Partial<InventoryEntry>, ...rows: [pid: number, ppid: number][]): void {
  images.write('inventory', undefined, [{ img_version: 2, ...inventory } as InventoryEntry]);
  images.write(
    'pstree',
    undefined,
    rows.map(([pid, ppid]) => ({ pid, ppid, pgid: pid, sid: pid, threads: [pid] })),
  );
}

describe('images of a tree', () => {
  test('are put together with parents before children', () => {
    writeTree({ has_empty_images_ext: true }, [12, 11], [11, 10], [10, 0]);
    for (const pid of [10, 11]) writeTask(pid);
    images.write('core', 12, [core('dead', TASK_DEAD)]);
    images.write('fdinfo', 2, [{ id: 1, flags: 0, type: 1, fd: 3 }]);
    const tree = loadTree(images);
    expect(tree.members.map(({ pid, kind }) => [pid, kind])).toEqual([
      [10, 'task'],
      [11, 'task'],
      [12, 'zombie'],
    ]);
    expect(tree.tasks[0]?.fds).toBe(tree.tasks[1]?.fds as never);
    expect(tree.root.label).toBe("task 10 'task10'");
  });

  test('of CRIU have no table for a task without descriptors; in ours a missing one is an error', () => {
    writeTree({}, [10, 0]);
    writeTask(10);
    expect(loadTree(images).root.fds).toEqual([]);
    writeTree({ has_empty_images_ext: true }, [10, 0]);
    expect(() => loadTree(images)).toThrow(`${folder}/fdinfo-2.img: there is no such image`);
  });

  test('of CRIU have the hexadecimal digits of the personality as a decimal number', () => {
    const load = (inventory: Partial<InventoryEntry>) => {
      writeTree(inventory, [10, 0]);
      writeTask(10);
      const entry = core('a', TASK_ALIVE);
      images.write('core', 10, [{ ...entry, tc: { ...entry.tc, personality: 4_040_000 } as TaskCoreEntry }]);
      images.write('fdinfo', 2, []);
      return loadTree(images).root.core.tc?.personality;
    };
    expect(load({})).toBe(0x0404_0000);
    expect(load({ has_empty_images_ext: true })).toBe(4_040_000);
  });

  test('that are no tree are refused, with everything that is wrong', () => {
    writeTree({}, [10, 0], [11, 99], [11, 0]);
    try {
      loadTree(images);
      throw new Error('it was loaded');
    } catch (error) {
      expect((error as { lines: string[] }).lines).toEqual([
        'the process tree in the images is broken',
        'pstree.img: has no task 99, the parent of 11',
        'pstree.img: has two tasks with pid 11',
        'pstree.img: has 2 root tasks instead of one',
      ]);
    }
  });

  test('with a task that is its own parent, under a pid that is there twice, are refused', () => {
    writeTree({}, [10, 0], [10, 10]);
    expect(() => loadTree(images)).toThrow('the process tree in the images is broken');
    writeTree({}, [10, 0], [11, 12], [12, 11]);
    expect(() => loadTree(images)).toThrow('the process tree in the images is broken');
  });

  test('of a task with 64-bit and 32-bit code are refused', () => {
    writeTree({ has_empty_images_ext: true }, [10, 0]);
    writeTask(10);
    const zeros = (type: MessageType<object>) =>
      Object.fromEntries(type.fields().map(([, name, kind]) => [name, kind === 'uint64' ? 0n : 0]));
    const fpregs = { ...zeros(UserX86FpregsEntry), st_space: [], xmm_space: [], padding: [], xsave: undefined };
    const write = (tid: number, mode: UserX86RegsMode) => {
      const gpregs = { ...zeros(UserX86RegsEntry), mode };
      const thread_info = { clear_tid_addr: 0n, gpregs, fpregs, tls: [], xstate_ext: [] };
      images.write('core', tid, [{ ...core('x', TASK_ALIVE), thread_info } as unknown as CoreEntry]);
    };
    images.write('pstree', undefined, [{ pid: 10, ppid: 0, pgid: 10, sid: 10, threads: [10, 11] }]);
    images.write('fdinfo', 2, []);
    write(10, UserX86RegsMode.COMPAT);
    write(11, UserX86RegsMode.COMPAT);
    expect(loadTree(images).root.abi).toBe(ABI_32);
    write(11, UserX86RegsMode.NATIVE);
    expect(() => loadTree(images)).toThrow(
      "task 10 'x': cannot be restored: some of its threads execute 64-bit code, some 32-bit code: such tasks are not " +
        'supported by this criu',
    );
    writeTree({ has_empty_images_ext: true }, [10, 0], [11, 10]);
    writeTask(11);
    write(10, UserX86RegsMode.COMPAT);
    expect(() => loadTree(images)).toThrow(
      "task 11 'task11': cannot be restored: it shares its descriptors with task 10 'x': they are programs of " +
        'different kinds: of 64 or of 32 bits, or with another limit of addresses',
    );
  });

  test('of a version we do not know are refused', () => {
    writeTree({ img_version: 9 }, [10, 0]);
    expect(() => loadTree(images)).toThrow('cannot restore images of version 9: this criu knows versions 1 and 2');
  });
});
