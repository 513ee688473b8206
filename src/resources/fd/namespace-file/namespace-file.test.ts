/** Descriptors of namespaces: which are kept, and by whom they are opened again. */
import { expect, test } from 'bun:test';
import { FdTypes, type FileEntry } from '../../../image/gen/fdinfo.ts';
import { AT_FDCWD, O_CLOEXEC, O_PATH } from '../../../linux/abi/fcntl.ts';
import { CLONE_NEWNET, CLONE_NEWNS } from '../../../linux/abi/sched.ts';
import { tryReadlink } from '../../../linux/syscalls/fs.ts';
import { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { KindDump, OpenFile, RestoreContext, RestoreHome } from '../file-kind.ts';
import { type NumberOfNamespace, namespaceFile, tellNamespaces } from './namespace-file.ts';

/** A dump of this process. */
function dumpWith(numberOf: NumberOfNamespace): KindDump {
  const states = new Map<string, unknown>();
  const dump = {
    tasks: [{ pid: process.pid }],
    state<T>(key: string, make: () => T): T {
      if (!states.has(key)) states.set(key, make());
      return states.get(key) as T;
    },
  } as unknown as KindDump;
  tellNamespaces(dump, numberOf);
  return dump;
}

const own = String(tryReadlink('/proc/self/ns/net'));
const open = (link: string) => ({ link, flags: O_PATH }) as OpenFile;

test('only names of the kernel are recognised', () => {
  expect([own, 'net:[1]x', '/net:[1]', 'pipe:[1]'].map((link) => namespaceFile.recognise(open(link)))).toEqual([
    true,
    false,
    false,
    false,
  ]);
});

test('the namespace of a task is kept by its number', () => {
  const result = namespaceFile.dump(
    open(own),
    7,
    dumpWith((link) => (link === own ? 2 : undefined)),
  );
  expect(result).toEqual({ type: FdTypes.NS, id: 7, nsf: { id: 7, ns_id: 2, ns_cflag: CLONE_NEWNET, flags: O_PATH } });
});

test('a namespace where no task lives is refused', () => {
  expect(
    namespaceFile.dump(
      open('net:[1]'),
      7,
      dumpWith(() => 2),
    ),
  ).toMatchObject({
    unsupported: 'no task of the tree lives in that namespace, so nothing of it is saved',
  });
});

const entry = (ns_id: number, ns_cflag = CLONE_NEWNET): FileEntry => ({
  type: FdTypes.NS,
  id: 7,
  nsf: { id: 7, ns_id, ns_cflag, flags: 0 },
});
const tasks = [
  { pid: 5, ids: { net_ns_id: 2, mnt_ns_id: 3 } },
  { pid: 6, ids: { net_ns_id: 2, mnt_ns_id: 4 } },
];
const context = { tree: { tasks } } as unknown as RestoreContext;

test('it is opened by the task itself, or by one that lives there', () => {
  const paths = [entry(2), entry(3, CLONE_NEWNS)].map((file) => {
    const table = new FdTablePlan(3);
    const home = { table, context, task: tasks[1], cloexec: () => O_CLOEXEC, made: () => undefined };
    namespaceFile.create([file], home as unknown as RestoreHome);
    return table
      .take()
      .toSteps()
      .map(({ args }) => args);
  });
  expect(paths).toEqual([
    [[AT_FDCWD, { text: '/proc/6/ns/net' }, O_CLOEXEC]],
    [[AT_FDCWD, { text: '/proc/5/ns/mnt' }, O_CLOEXEC]],
  ]);
});

test('a namespace of nobody is named', () => {
  expect(namespaceFile.check?.(entry(2), context)).toEqual([]);
  expect(namespaceFile.check?.(entry(3), context)).toEqual([
    {
      object: 'namespace file (file 7)',
      action: 'cannot be restored',
      why: 'no task lives in namespace 3 of its kind',
    },
  ]);
});
