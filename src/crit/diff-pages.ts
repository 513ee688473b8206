/** Compares the memory of two dumps page by page, without holding more than a piece of it. */
import type { Pagemap } from '../image/image-kinds.ts';
import { PAGE_BYTES, PE_PRESENT, pagemapEntryFlags, pagemapEntryPages } from '../image/pagemap.ts';
import { byteText, plural } from './describe-file.ts';
import type { ImageFiles } from './image-folder.ts';

export interface PagesSide {
  readonly pagemap: Pagemap;
  readonly files: ImageFiles;
}

interface Run {
  readonly start: number;
  readonly end: number;
  /** Of the first page in the image. */
  readonly offset: number;
}

const PIECE_BYTES = 1 << 20;

/** At most one line. */
export function countDifferentPages(a: PagesSide, b: PagesSide): string[] {
  const [runsA, runsB] = [presentRuns(a.pagemap), presentRuns(b.pagemap)];
  const pagesA = pageCount(runsA);
  const pagesB = pageCount(runsB);
  let both = 0;
  let different = 0;
  let first = 0;
  for (const run of runsA) {
    while (first < runsB.length && (runsB[first]?.end ?? 0) <= run.start) first++;
    for (let index = first; index < runsB.length && (runsB[index]?.start ?? 0) < run.end; index++) {
      const other = runsB[index];
      if (other === undefined) break;
      const start = Math.max(run.start, other.start);
      const end = Math.min(run.end, other.end);
      both += (end - start) / PAGE_BYTES;
      different += differentPages(a, run, b, other, start, end);
    }
  }
  const parts = [
    ...(different > 0
      ? [`${plural(different, 'page')} (${byteText(different * PAGE_BYTES)}) of ${both} with other content`]
      : []),
    ...(pagesA > both ? [`${plural(pagesA - both, 'page')} only in the first`] : []),
    ...(pagesB > both ? [`${plural(pagesB - both, 'page')} only in the second`] : []),
  ];
  return parts.length === 0 ? [] : [parts.join(', ')];
}

function presentRuns({ entries }: Pagemap): Run[] {
  const runs: Run[] = [];
  let offset = 0;
  for (const entry of entries) {
    if ((pagemapEntryFlags(entry) & PE_PRESENT) === 0) continue;
    const bytes = pagemapEntryPages(entry) * PAGE_BYTES;
    runs.push({ start: entry.vaddr, end: entry.vaddr + bytes, offset });
    offset += bytes;
  }
  return runs;
}

function pageCount(runs: readonly Run[]): number {
  return runs.reduce((sum, { start, end }) => sum + (end - start) / PAGE_BYTES, 0);
}

function differentPages(a: PagesSide, runA: Run, b: PagesSide, runB: Run, start: number, end: number): number {
  let count = 0;
  for (let address = start; address < end; address += PIECE_BYTES) {
    const bytes = Math.min(PIECE_BYTES, end - address);
    const pieceA = readPiece(a, runA.offset + address - runA.start, bytes);
    const pieceB = readPiece(b, runB.offset + address - runB.start, bytes);
    if (Buffer.compare(pieceA, pieceB) === 0) continue;
    for (let page = 0; page < bytes; page += PAGE_BYTES) {
      const pages = [pieceA, pieceB].map((piece) => piece.subarray(page, page + PAGE_BYTES)) as [
        Uint8Array,
        Uint8Array,
      ];
      if (Buffer.compare(pages[0], pages[1]) !== 0) count++;
    }
  }
  return count;
}

function readPiece({ pagemap, files }: PagesSide, offset: number, bytes: number): Uint8Array {
  return files.tryReadPages(pagemap.head.pages_id, offset, bytes) ?? new Uint8Array();
}
