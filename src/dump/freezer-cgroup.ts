/**
 * The cgroup freezer (--freeze-cgroup): all tasks of a cgroup stand still at once, so that none can escape while they are
 * seized. Both hierarchies: freezer.state of version 1 (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst) and
 * cgroup.freeze of version 2 (Linux 5.2).
 *
 * A frozen task of version 1 does not reach a ptrace stop, so the cgroup is thawed when everybody is seized and
 * interrupted: then they stop at once. A cgroup that was frozen before stays frozen for whoever froze it.
 */
import { CriuError } from '../base/errors.ts';
import { errnoName } from '../linux/abi/errno.ts';
import { O_WRONLY } from '../linux/abi/fcntl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { stopIfInterrupted } from '../linux/interrupts.ts';
import { syscall } from '../linux/kernel.ts';
import { tryReadFile, tryWriteFile } from '../linux/syscalls/fs.ts';
import { hasMembers } from '../resources/cgroup/frozen-cgroups.ts';

const POLL_NS = 1_000_000n;

interface Control {
  readonly file: string;
  readonly frozen: string;
  readonly thawed: string;
  /** True when the text of `stateFile` says that everybody stands. */
  readonly stateFile: string;
  readonly isFrozen: (text: string) => boolean;
}

const CONTROLS: readonly Control[] = [
  {
    file: 'cgroup.freeze',
    frozen: '1',
    thawed: '0',
    stateFile: 'cgroup.events',
    isFrozen: (text) => /^frozen 1$/m.test(text),
  },
  {
    file: 'freezer.state',
    frozen: 'FROZEN',
    thawed: 'THAWED',
    stateFile: 'freezer.state',
    isFrozen: (text) => text.trim() === 'FROZEN',
  },
];

export class FreezerCgroup {
  readonly path: string;
  readonly #control: Control;
  /** Somebody else had frozen it. */
  readonly wasFrozen: boolean;

  /** `path` is the folder of the cgroup. Throws CriuError when it has no freezer. */
  constructor(path: string) {
    this.path = path;
    const control = CONTROLS.find(({ file }) => typeof tryReadFile(`${path}/${file}`) === 'string');
    if (control === undefined) {
      throw new CriuError({
        object: `--freeze-cgroup ${path}`,
        action: 'is not a cgroup that can be frozen',
        why: 'it has neither cgroup.freeze nor freezer.state',
        remedy: 'name a folder of the freezer hierarchy or of cgroup version 2 that is not the root',
      });
    }
    this.#control = control;
    this.wasFrozen = this.#isFrozen();
  }

  /** Returns when all tasks stand. Throws CriuError; Interrupted at the end of --timeout. */
  freeze(): void {
    if (this.wasFrozen) return;
    this.#write(this.#control.frozen);
    while (!this.#isFrozen()) {
      stopIfInterrupted();
      syscall(SYS.nanosleep, BigUint64Array.of(0n, POLL_NS), 0);
    }
  }

  /** Lets the tasks run to their ptrace stops. */
  thaw(): void {
    this.#write(this.#control.thawed);
  }

  /**
   * As it was before. Never throws. When the tree is dead and the cgroup empty it is left thawed, or nobody could be
   * restored into it.
   */
  restore(isTreeDead: boolean): void {
    if (isTreeDead && !hasMembers(this.path)) return;
    const { file, frozen, thawed } = this.#control;
    tryWriteFile(`${this.path}/${file}`, this.wasFrozen ? frozen : thawed, O_WRONLY);
  }

  #isFrozen(): boolean {
    const text = tryReadFile(`${this.path}/${this.#control.stateFile}`);
    return typeof text === 'string' && this.#control.isFrozen(text);
  }

  #write(text: string): void {
    const path = `${this.path}/${this.#control.file}`;
    const result = tryWriteFile(path, text, O_WRONLY);
    if (result < 0) throw new CriuError({ object: path, action: `cannot be written (${errnoName(-result)})` });
  }
}
