/** Which open file descriptions are made together or before each other, and in which table. */
import type { FileKind, RestoreContext } from '../file-kind.ts';
import { makerOf } from './choose-home.ts';
import { type Description, NO_NUMBER, slotsIn, type Table } from './description.ts';

/** For groups that need other files (in flight, or watched): the groups of these. */
export type NeededGroups = ReadonlyMap<readonly Description[], readonly Description[][]>;

/**
 * Those that are made together, with the home of each: that of the task that has made them, where others see who it was,
 * or else the first table that uses any of them.
 */
export function formGroups(
  descriptions: Iterable<Description>,
  byPid: ReadonlyMap<number, Table>,
  context: RestoreContext,
): Description[][] {
  const groups: Description[][] = [];
  const byKind = new Map<FileKind, Map<number, Description[]>>();
  for (const description of descriptions) {
    const { kind, entry } = description;
    if (kind.groupKey === undefined) {
      groups.push([description]);
      continue;
    }
    const key = kind.groupKey(entry, context);
    let byKey = byKind.get(kind);
    if (byKey === undefined) {
      byKey = new Map();
      byKind.set(kind, byKey);
    }
    const known = byKey.get(key);
    if (known !== undefined) {
      known.push(description);
      continue;
    }
    const group = [description];
    groups.push(group);
    byKey.set(key, group);
  }
  for (const group of groups) {
    const [first] = group;
    if (first === undefined) continue;
    const maker = makerOf(group, byPid);
    // Mostly they are all of one table.
    if (maker === undefined && (byPid.size === 1 || group.every(({ home }) => home === first.home))) continue;
    setHome(group, maker ?? firstOf(group.map(({ table }) => table)));
  }
  return groups;
}

const NO_IDS: readonly number[] = [];

/** What is sent to somebody is made where that one is, and so is what is watched. */
export function joinNeeded(groups: readonly Description[][], context: RestoreContext): NeededGroups {
  const needed = new Map<Description[], Description[][]>();
  const needing: { group: Description[]; before: readonly number[]; atLast: readonly number[] }[] = [];
  for (const group of groups) {
    const [first] = group;
    if (first?.kind.needs === undefined && first?.kind.needsAtLast === undefined) continue;
    let [before, atLast] = [NO_IDS, NO_IDS];
    for (const { kind, entry } of group) {
      const needs = kind.needs?.(entry, context) ?? NO_IDS;
      const last = kind.needsAtLast?.(entry) ?? NO_IDS;
      if (needs.length > 0) before = [...before, ...needs];
      if (last.length > 0) atLast = [...atLast, ...last];
    }
    if (before.length + atLast.length > 0) needing.push({ group, before, atLast });
  }
  if (needing.length === 0) return needed;
  const byId = new Map(groups.flatMap((group) => group.map(({ entry }) => [entry.id, group] as const)));
  const joined = needing.map(({ group, before, atLast }) => {
    const others = (ids: readonly number[]) => {
      const found = new Set<Description[]>();
      for (const id of ids) found.add(byId.get(id) ?? group);
      found.delete(group);
      return [...found];
    };
    needed.set(group, others(before));
    return [group, ...others([...before, ...atLast])];
  });
  for (let isSettled = false; !isSettled; ) {
    isSettled = true;
    for (const all of joined) {
      const home = firstOf(all.flatMap(([first]) => first?.home ?? []));
      for (const member of all) {
        if (member[0]?.home === home) continue;
        setHome(member, home);
        isSettled = false;
      }
    }
  }
  return needed;
}

/** The same groups, each behind those it needs. */
export function neededFirst(groups: readonly Description[][], needed: NeededGroups): Iterable<readonly Description[]> {
  if (needed.size === 0) return groups;
  const ordered = new Set<readonly Description[]>();
  const visited = new Set<readonly Description[]>();
  const visit = (group: readonly Description[]) => {
    if (visited.has(group)) return;
    visited.add(group);
    for (const other of needed.get(group) ?? []) visit(other);
    ordered.add(group);
  };
  for (const group of groups) visit(group);
  return ordered;
}

function firstOf(tables: readonly Table[]): Table {
  return tables.reduce((first, table) => (table.order < first.order ? table : first));
}

function setHome(group: readonly Description[], home: Table): void {
  for (const description of group) description.home = home;
}

/** The lowest number in a table that one of them has; NO_NUMBER when they have none. Slots ascend. */
export function lowestSlot(group: readonly Description[], table: Table): number {
  let lowest = NO_NUMBER;
  for (const description of group) {
    const slot = slotsIn(description, table)[0];
    if (slot !== undefined && slot.fd < lowest) lowest = slot.fd;
  }
  return lowest;
}

/** Groups by the lowest number of each. They are mostly in order: descriptors ascend, and so do the files behind them. */
export function sortByNumber(groups: Description[][], table: Table): void {
  let before = -1;
  for (const group of groups) {
    const lowest = lowestSlot(group, table);
    if (lowest < before) {
      groups.sort((a, b) => lowestSlot(a, table) - lowestSlot(b, table));
      return;
    }
    before = lowest;
  }
}
