/**
 * Who makes an open file description, where others see that: the peer of a UNIX socket can ask for the pid of the task that
 * connected it (SO_PEERCRED). Descriptions that are made together have one home, so it may be wrong for some of them.
 */
import type { Description, Table } from './description.ts';

/** The table of the task that made most of a group; undefined when nobody knows, or it is not in the tree. Pure. */
export function makerOf(group: readonly Description[], byPid: ReadonlyMap<number, Table>): Table | undefined {
  if (byPid.size === 1 || !isKnown(group)) return undefined;
  const counts = new Map<Table, number>();
  let best: Table | undefined;
  for (const description of group) {
    const table = byPid.get(pidOf(description) ?? 0);
    if (table === undefined) continue;
    const count = (counts.get(table) ?? 0) + 1;
    counts.set(table, count);
    if (count > (best === undefined ? 0 : (counts.get(best) ?? 0))) best = table;
  }
  return best;
}

/** What to tell of groups of which some are made by another task of the tree than before. Pure. */
export function madeElsewhere(groups: readonly Description[][], byPid: ReadonlyMap<number, Table>): string[] {
  return byPid.size === 1 ? [] : groups.flatMap((group) => describeOthers(group, byPid) ?? []);
}

function describeOthers(group: readonly Description[], byPid: ReadonlyMap<number, Table>): string | undefined {
  if (!isKnown(group)) return undefined;
  const others = group.filter((description) => {
    const pid = pidOf(description) ?? 0;
    return pid !== description.home.owner.pid && byPid.has(pid);
  });
  const [first] = others;
  if (first === undefined) return undefined;
  const { entry, home } = first;
  const what = entry.usk === undefined ? `file ${entry.id}` : `socket:[${entry.usk.ino}]`;
  return (
    `${what}${others.length === 1 ? '' : ` and ${others.length - 1} more`}: the peer (SO_PEERCRED) is task ${home.owner.pid} ` +
    `from now on, instead of task ${pidOf(first)}: one task makes all sockets that are connected to the same listening one`
  );
}

/** Whether the images say something about makers. */
const isKnown = (group: readonly Description[]): boolean =>
  group.some(({ kind, entry }) => (kind.maker?.(entry) ?? FIRST) !== FIRST);

const FIRST = 'first';

/** Undefined when it does not matter. */
function pidOf({ kind, entry, table }: Description): number | undefined {
  const maker = kind.maker?.(entry);
  return maker === FIRST ? table.owner.pid : maker;
}
