/**
 * Sockets in flight to each other. A socket in flight is made before those that it is sent to, with all that it depends
 * on; when that goes round in a circle, nobody can be the first. Pure.
 */
import type { UnixSkEntry } from '../../../image/gen/sk-unix.ts';
import { UnixLinks } from './links.ts';

/** The first socket of such a circle; `rightsOf`: ids of the files that wait in a socket. */
export function findCircle(
  entries: readonly UnixSkEntry[],
  rightsOf: (id: number) => readonly number[],
): UnixSkEntry | undefined {
  const links = new UnixLinks(entries);
  const ids = new Set(entries.map(({ id }) => id));
  const needed = new Map<number, Set<number>>();
  for (const { id } of entries) {
    const group = links.groupOf(id);
    const others = rightsOf(id).flatMap((right) => (ids.has(right) ? links.groupOf(right) : []));
    for (const other of others) if (other !== group) needed.set(group, (needed.get(group) ?? new Set()).add(other));
  }
  const done = new Set<number>();
  const path = new Set<number>();
  const isInCircle = (group: number): boolean => {
    if (path.has(group)) return true;
    if (done.has(group)) return false;
    path.add(group);
    const found = [...(needed.get(group) ?? [])].some(isInCircle);
    path.delete(group);
    done.add(group);
    return found;
  };
  return entries.find(({ id }) => needed.has(links.groupOf(id)) && isInCircle(links.groupOf(id)));
}
