/**
 * /proc/PID/cgroup: the cgroup of a task in each hierarchy, man 7 cgroups; kernel/cgroup/cgroup.c.
 */
import { eachLine, malformed, toInteger } from './text.ts';

/** Membership in one hierarchy. */
export interface CgroupEntry {
  /** 0 for cgroup v2. */
  readonly hierarchy: number;
  /** Controllers of a v1 hierarchy, `name=systemd` included; empty for v2. */
  readonly controllers: readonly string[];
  /** Relative to the reader's cgroup namespace; starts with `/..` when outside of it. */
  readonly path: string;
  /** The cgroup was removed while the task (then a zombie) was in it. */
  readonly isDeleted: boolean;
}

const DELETED = ' (deleted)';

/** Parses /proc/PID/cgroup. Throws CriuError, naming `file` and line, when the text is not the kernel's. */
export function parseCgroup(text: string, file = '/proc/PID/cgroup'): CgroupEntry[] {
  const entries: CgroupEntry[] = [];
  eachLine(text, file, (line, place) => {
    const first = line.indexOf(':');
    const second = line.indexOf(':', first + 1);
    if (first < 0 || second < 0) throw malformed(place, 'hierarchy:controllers:path');
    const controllers = line.slice(first + 1, second);
    const rawPath = line.slice(second + 1);
    const isDeleted = rawPath.endsWith(DELETED);
    entries.push({
      hierarchy: toInteger(line.slice(0, first), place, 'a hierarchy id'),
      controllers: controllers === '' ? [] : controllers.split(','),
      path: isDeleted ? rawPath.slice(0, -DELETED.length) : rawPath,
      isDeleted,
    });
  });
  return entries;
}
