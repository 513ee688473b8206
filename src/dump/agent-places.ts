/** Where the agent may put its trampoline in a running task: see tracee/guest.ts. Pure. */
import { PROT_EXEC } from '../linux/abi/mman.ts';
import { type MapsEntry, parseMaps } from '../proc/maps.ts';

/** Executable private mappings: the vdso, then those of files. */
export function agentPlaces(maps: readonly MapsEntry[]): MapsEntry[] {
  const vdso: MapsEntry[] = [];
  const files: MapsEntry[] = [];
  for (const entry of maps) {
    if ((entry.prot & PROT_EXEC) === 0 || entry.isShared) continue;
    if (entry.path === '[vdso]') vdso.push(entry);
    else if (entry.path.startsWith('/')) files.push(entry);
  }
  return [...vdso, ...files];
}

/** In the lines of executable private mappings, and maybe in a name. */
const EXECUTABLE = 'xp ';

/** The same out of the text of maps, of which only these lines are parsed. Throws CriuError naming `file`. */
export function agentPlacesIn(text: string, file: string): MapsEntry[] {
  let lines = '';
  for (let at = text.indexOf(EXECUTABLE); at >= 0; ) {
    const newline = text.indexOf('\n', at);
    const end = newline < 0 ? text.length : newline + 1;
    lines += text.slice(text.lastIndexOf('\n', at) + 1, end);
    at = text.indexOf(EXECUTABLE, end);
  }
  return agentPlaces(parseMaps(lines, file));
}
