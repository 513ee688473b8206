/**
 * A cgroup for one test, in a hierarchy that is mounted where nobody sees it; `using` removes it and all below it.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Hierarchy } from '../../src/resources/cgroup/hierarchy.ts';
import {
  dump,
  expectGone,
  expectSuccess,
  makeImagesDir,
  SkippedByProgram,
  type Specimen,
  startProgram,
} from './harness.ts';

let count = 0;

export class CgroupFolder {
  /** Path in the hierarchy. */
  readonly path = `/criu-live-${process.pid}-${++count}`;
  /** The folder, for this process and for others. */
  readonly folder: string;
  readonly #hierarchy: Hierarchy;

  /** `controllers` as /proc/PID/cgroup has them; [''] is version 2. Skips the test where it cannot be had. */
  constructor(controllers: readonly string[]) {
    try {
      this.#hierarchy = new Hierarchy(controllers, undefined);
    } catch (error) {
      throw new SkippedByProgram(`no hierarchy ${controllers.join(',')}: ${error}`);
    }
    this.folder = join(this.#hierarchy.root.replace('/self/', `/${process.pid}/`), this.path);
    mkdirSync(this.folder);
  }

  /** Makes cgroups below it. */
  make(...names: string[]): void {
    for (const name of names) mkdirSync(join(this.folder, name), { recursive: true });
  }

  has(name: string): boolean {
    return existsSync(join(this.folder, name));
  }

  read(file: string): string {
    return readFileSync(join(this.folder, file), 'utf8').trimEnd();
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.folder, file), text, { flag: 'r+' });
  }

  mode(name: string): number {
    return statSync(join(this.folder, name)).mode & 0o7777;
  }

  /** Removes it with all below it; nobody may be in there any more. */
  remove(): void {
    removeTree(this.folder);
  }

  /** Kills who is left in there, the programs of a test that failed. */
  [Symbol.dispose](): void {
    if (existsSync(this.folder)) killMembers(this.folder);
    this.remove();
    this.#hierarchy[Symbol.dispose]();
  }
}

function killMembers(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) killMembers(join(folder, entry.name));
  }
  const type = join(folder, 'cgroup.type');
  if (existsSync(type) && readFileSync(type, 'utf8') === 'threaded\n') return; // they are members of a cgroup above
  for (const line of readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n')) {
    if (/^[1-9]\d+$/.test(line)) process.kill(Number(line), 'SIGKILL');
  }
}

/** Tasks that have been killed leave their cgroup a moment later. */
function removeTree(folder: string): void {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(folder, entry.name));
  }
  for (let tries = 0; ; tries++) {
    try {
      rmdirSync(folder);
      return;
    } catch (error) {
      if (tries === 200) throw error;
      Bun.sleepSync(5);
    }
  }
}

/** A program in a cgroup that has a property, and an empty one below it. */
export async function startInCgroup(cgroups: CgroupFolder): Promise<Specimen> {
  const specimen = await startProgram('static-counter');
  cgroups.make('a/empty');
  cgroups.write('a/cgroup.procs', String(specimen.pid));
  return specimen;
}

/** Dumps it, and sees that it is gone. */
export async function dumpAway(specimen: Specimen, name: string, args: readonly string[] = []): Promise<string> {
  const images = makeImagesDir(specimen, name);
  expectSuccess(await dump(specimen, images, args));
  await expectGone([specimen.pid], 'after the dump');
  return images;
}

/** A cgroup with a property that has no effect here: pids.max, far away. */
export function pidsCgroup(): CgroupFolder {
  const cgroups = new CgroupFolder(['pids']);
  cgroups.make('a');
  if (cgroups.has('a/pids.max')) return cgroups;
  cgroups[Symbol.dispose]();
  throw new SkippedByProgram('no controller pids in a hierarchy of version 1');
}
