/** The process trees that criu dumps and restores to warm up: of each kind of object that there may be many of, many. */
import type { Program } from '../agent/program.ts';
import { addChild } from '../tracee/idle.ts';
import {
  addChildren,
  addConnections,
  addFiles,
  addHalfPipes,
  addMappings,
  addMemory,
  addOneOfEach,
  addPipes,
  addSparseMemory,
  addThreads,
  addUnixPairs,
} from './tree-parts.ts';

/** With these options, by a request that has all its options itself, or only asked whether a tree can be dumped. */
export type Way = readonly string[] | 'request' | 'check';

export const LOGGED = ['-v4', '-o', 'criu.log'];
/** How criu is called: with a log of everything, of what is out of order, and without one. */
const CALLED: readonly Way[] = [LOGGED, ['-o', 'criu.log'], []];
/** The same, and asked. */
export const ALL_WAYS: readonly Way[] = [...CALLED, 'request'];

export interface WarmUpTree {
  readonly name: string;
  /** How often it is dumped and restored, in these ways by turns. */
  readonly rounds: number;
  readonly ways: readonly Way[];
  /** What its root executes; it does no more than the agent unless stated. */
  readonly program?: readonly string[];
  /** What its root does before it sleeps; `folder` is for files. */
  readonly prepare?: (program: Program, folder: string) => void;
  /** Options that both dump and restore need. */
  readonly options?: readonly string[];
  readonly dumpOptions?: readonly string[];
  readonly restoreOptions?: readonly string[];
}

const MANY: readonly Omit<WarmUpTree, 'ways'>[] = [
  { name: 'many files', rounds: 6, prepare: (p, folder) => addFiles(p, folder, 1200) },
  { name: 'many pipes', rounds: 6, prepare: (p) => addPipes(p, 1000) },
  { name: 'many pairs of sockets', rounds: 6, prepare: (p) => addUnixPairs(p, 1000) },
  {
    name: 'TCP connections',
    rounds: 6,
    prepare: (p) => addConnections(p, 100),
    options: ['--tcp-established'],
    dumpOptions: ['--network-lock', 'nftables'],
  },
  { name: 'many mappings', rounds: 6, prepare: (p) => addMappings(p, 3000) },
  { name: '1000 threads', rounds: 3, prepare: (p) => addThreads(p, 1000) },
  { name: '100 threads', rounds: 10, prepare: (p) => addThreads(p, 100) },
  { name: '100 tasks', rounds: 3, prepare: (p) => addChildren(p, 99) },
  {
    name: 'tasks that share memory',
    rounds: 3,
    prepare: (p) => {
      addMemory(p, 16 << 20);
      addChildren(p, 20);
    },
  },
  { name: 'sparse memory', rounds: 5, prepare: (p) => addSparseMemory(p, 2000) },
  { name: 'much memory', rounds: 8, prepare: (p) => addMemory(p, 36 << 20) },
  {
    name: 'memory that comes later',
    rounds: 5,
    prepare: (p) => addMemory(p, 4 << 20),
    restoreOptions: ['--run-at-once'],
  },
];

/**
 * With one of each besides: whoever has many of a kind has a few of the others as well. Half of them have a child, for which
 * there is other code. It is there first: what it would inherit is no longer one task's alone.
 */
export const BIG_TREES: readonly WarmUpTree[] = MANY.flatMap((tree) =>
  [false, true].map((hasChild) => ({
    ...tree,
    rounds: Math.ceil(tree.rounds / 2),
    ways: CALLED,
    prepare: (p: Program, folder: string) => {
      if (hasChild) addChild(p);
      tree.prepare?.(p, folder);
      addOneOfEach(p, folder);
    },
  })),
);

const SMALL = { rounds: 12, ways: ALL_WAYS };

/** What users have mostly: small trees of different kinds, so that code is compiled for what all of them are like. */
export const SMALL_TREES: readonly WarmUpTree[] = [
  { name: 'a small process', ...SMALL },
  { name: 'an ordinary program', ...SMALL, program: ['/bin/sleep', 'infinity'] },
  {
    name: 'one of each',
    ...SMALL,
    prepare: (p, folder) => {
      addHalfPipes(p);
      addOneOfEach(p, folder);
      addChild(p);
    },
  },
  { name: 'a program with children', ...SMALL, program: ['/bin/sh', '-c', 'sleep infinity & sleep 1000000; :'] },
];
