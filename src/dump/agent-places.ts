/** Where the agent may put its trampoline in a running task: see tracee/guest.ts. */
import { PROT_EXEC } from '../linux/abi/mman.ts';
import type { MapsEntry } from '../proc/maps.ts';

/** Executable private mappings: the vdso, then those of files. */
export function agentPlaces(maps: readonly MapsEntry[]): MapsEntry[] {
  const executable = maps.filter(({ prot, isShared }) => (prot & PROT_EXEC) !== 0 && !isShared);
  const isVdso = ({ path }: MapsEntry) => path === '[vdso]';
  return [...executable.filter(isVdso), ...executable.filter((entry) => !isVdso(entry) && entry.path.startsWith('/'))];
}
