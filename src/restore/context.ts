/** What all parts of a restore share: the tree, the images, and the places and plans made before any process exists. */
import type { Program, ProgramArg } from '../agent/program.ts';
import type { Logger } from '../base/log.ts';
import type { SeccompEntry } from '../image/gen/seccomp.ts';
import type { ImageDir } from '../image/image-dir.ts';
import type { RestoredCgroups } from '../resources/cgroup/restore-cgroups.ts';
import type { Range } from '../resources/mm/address-space.ts';
import type { SharedMemory } from '../resources/mm/shared-memory.ts';
import type { HostSegments } from '../resources/sysv/restore-segments.ts';
import type { TaskNow } from '../resources/task/restore-thread.ts';
import type { HostTask } from '../tracee/host.ts';
import type { BirthPlan } from './births.ts';
import type { LaterPages } from './later-pages.ts';
import type { RestoreTree, RestoreZombie } from './restore-tree.ts';

/** Files are restored in up to three steps, with all tasks in step: created, handed to others, finished. */
export type FileStage = 'create' | 'share' | 'finish';

/** The plan of everything that is open or mapped. */
export interface FilesPlan {
  /** Stages that have any ops at all. */
  readonly stages: readonly FileStage[];
  addOps(stage: FileStage, pid: number, program: Program): void;
  /** The same in parts, each of which has many ops: what adds them, in order. */
  parts(stage: FileStage, pid: number): readonly ((program: Program) => void)[];
  /** Upper bound of the room that all stages of a task take in programs. */
  programBytes(pid: number): number;
  /** Seals memfds, when everything is mapped. */
  seal(): void;
  /** Adds the open of a mapped file by a task; returns the descriptor, which the caller closes. */
  openForMapping(program: Program, pid: number, fileId: number, fdflags: number): ProgramArg;
  readonly terminals: TerminalsPlan;
}

/** What sessions need of terminals. */
export interface TerminalsPlan {
  /** Adds the ops by which a session leader takes its controlling terminal, when it has nothing open yet. */
  addControl(program: Program, pid: number): void;
  /** Adds the ops by which a session leader makes another group than its own the foreground one; false: not needed. */
  addForegroundGroup(program: Program, pid: number, pgid: number): boolean;
  /** Makes a group the foreground job of the terminal that a shell job takes over from criu, if there is one. */
  bringToForeground(pgrp: number): void;
}

export interface RestoreContext {
  readonly tree: RestoreTree;
  readonly images: ImageDir;
  readonly log: Logger;
  /** Told how many bytes of memory are filled. */
  readonly onProgress: ((doneBytes: number) => void) | undefined;
  readonly files: FilesPlan;
  readonly sharedMemory: SharedMemory;
  /** System V shared memory. */
  readonly segments: HostSegments;
  readonly cgroups: RestoredCgroups;
  /** Takes the memory that comes after the tasks run; undefined when all of it comes before. */
  readonly later: LaterPages | undefined;
  /** Where the vdso waits while address spaces are built; directly before `home`. */
  readonly parking: Range;
  /** Where the agent lives in every task. */
  readonly home: { readonly address: number; readonly bytes: number };
  /** What new tasks have before they get their own state. */
  readonly taskNow: TaskNow;
  /** The content of seccomp.img. */
  readonly filters: SeccompEntry | undefined;
  /** Whom each task forks, and who joins a group afterwards. */
  readonly births: BirthPlan['births'];
  readonly joins: BirthPlan['joins'];
  /** Leaders of groups whose own leader is dead: they live until everybody has joined. */
  readonly groupHelpers: { readonly host: HostTask; readonly parent: HostTask }[];
  /** Tasks that exist only to die, once their parents are complete. */
  readonly zombies: { readonly zombie: RestoreZombie; readonly host: HostTask }[];
}
