/** Pages that are in the images of a dump before: the chain of parents must have them. */
import { CriuError, composeMessage } from '../base/errors.ts';
import type { Pagemap } from '../image/image-kinds.ts';
import { PAGE_BYTES, PE_PARENT, PE_PRESENT, pagemapEntryFlags, pagemapEntryPages } from '../image/pagemap.ts';
import { findPagemapProblems } from '../image/validate-memory.ts';
import { ImageFolder } from './image-folder.ts';

/** More dumps in a row than anybody makes; a chain that is longer is a circle. */
const CHAIN_MAX = 10_000;

export function findParentProblems(folder: ImageFolder): string[] {
  const chain: ImageFolder[] = [];
  let next = tryParent(folder);
  while (next instanceof ImageFolder && chain.length < CHAIN_MAX) {
    chain.push(next);
    next = tryParent(next);
  }
  if (chain.length === CHAIN_MAX) return ['parent: the links to the images of earlier dumps lead in a circle'];
  if (typeof next === 'string') return [next];
  return folder.images().flatMap(({ kind, id, name }) => {
    if (kind !== 'pagemap' && kind !== 'pagemap-shmem') return [];
    return findMissingPages(name, kind, Number(id), folder, chain);
  });
}

function tryParent(folder: ImageFolder): ImageFolder | string | undefined {
  try {
    const files = folder.files.openParent();
    return files === undefined ? undefined : new ImageFolder(files);
  } catch (error) {
    if (error instanceof CriuError) return error.message;
    throw error;
  }
}

/** The first page that no parent has. */
function findMissingPages(
  name: string,
  kind: 'pagemap' | 'pagemap-shmem',
  id: number,
  folder: ImageFolder,
  chain: readonly ImageFolder[],
): string[] {
  let missing = [...rangesWith(folder.tryRead(kind, id), PE_PARENT)];
  for (const parent of chain) {
    if (missing.length === 0) return [];
    const pagemap = parent.tryRead(kind, id);
    const problem = pagemap === undefined ? undefined : findShortPages(name, pagemap, parent);
    if (problem !== undefined) return [problem];
    missing = without(missing, [...rangesWith(pagemap, PE_PRESENT)]);
  }
  const [first] = missing;
  if (first === undefined) return [];
  const at = BigInt(first.start).toString(16);
  return [`${name}: the page at ${at} is said to be in the images of an earlier dump, but none of them has it`];
}

/** A pages image there that has not the size that its pagemap says. */
function findShortPages(name: string, pagemap: Pagemap, parent: ImageFolder): string | undefined {
  const pagesBytes = parent.files.fileSize('pages', pagemap.head.pages_id);
  const [first] = findPagemapProblems(`parent: ${name}`, pagemap, { pagesBytes, hasParent: true });
  return first === undefined ? undefined : composeMessage(first);
}

interface Range {
  readonly start: number;
  readonly end: number;
}

function* rangesWith(pagemap: Pagemap | undefined, flag: number): Generator<Range> {
  for (const entry of pagemap?.entries ?? []) {
    const end = entry.vaddr + pagemapEntryPages(entry) * PAGE_BYTES;
    if ((pagemapEntryFlags(entry) & flag) !== 0 && end > entry.vaddr) yield { start: entry.vaddr, end };
  }
}

/** Both lists are sorted. */
function without(ranges: readonly Range[], taken: readonly Range[]): Range[] {
  const left: Range[] = [];
  let index = 0;
  for (const range of ranges) {
    let { start } = range;
    while (index > 0 && (taken[index - 1]?.end ?? 0) > start) index--;
    for (; start < range.end; index++) {
      const hole = taken[index];
      if (hole === undefined || hole.start >= range.end) break;
      if (hole.start > start) left.push({ start, end: hole.start });
      start = Math.max(start, hole.end);
    }
    if (start < range.end) left.push({ start, end: range.end });
  }
  return left;
}
