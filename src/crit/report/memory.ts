/** The memory of tasks, drawn to scale: a strip of all mappings in the order of their addresses, and one of what was saved. */
import { byteText, plural } from '../describe-file.ts';
import { type MappingGroup, type MappingPicture, memorySum } from '../picture.ts';
import { type Html, html } from './html.ts';

type Colour = MappingGroup | 'reserved';

const COLOURS: readonly (readonly [Colour, string])[] = [
  ['code', 'code'],
  ['file', 'file, private'],
  ['heap', 'heap'],
  ['stack', 'stack'],
  ['private', 'private memory'],
  ['shared', 'shared'],
  ['special', "the kernel's"],
  ['reserved', 'no access'],
];

export function legend(): Html {
  const items = COLOURS.map(([colour, text]) => html`<li><i class="${colour}"></i>${text}</li>`);
  return html`<ul class="legend">${items}</ul>`;
}

/** Address space that may not be touched is no memory: programs reserve much of it. */
function colourOf({ prot, group }: MappingPicture): Colour {
  return prot === '---' && group !== 'special' ? 'reserved' : group;
}

function sizeOf({ start, end }: MappingPicture): number {
  return end - start;
}

function savedOf({ savedBytes }: MappingPicture): number {
  return savedBytes;
}

/** Widths add up to `whole`; neighbours of the same colour that are too thin to be seen are drawn as one. */
function pieces(mappings: readonly MappingPicture[], size: (mapping: MappingPicture) => number, whole: number): Html[] {
  const runs: { colour: Colour; bytes: number; first: MappingPicture; count: number }[] = [];
  for (const mapping of mappings) {
    const bytes = size(mapping);
    if (bytes === 0) continue;
    const last = runs.at(-1);
    const colour = colourOf(mapping);
    const isThin = bytes < whole / 400 && last !== undefined && last.bytes < whole / 400;
    if (last !== undefined && isThin && last.colour === colour) {
      last.bytes += bytes;
      last.count++;
    } else runs.push({ colour, bytes, first: mapping, count: 1 });
  }
  return runs.map(({ colour, bytes, first, count }) => {
    const what = count > 1 ? plural(count, 'mapping') : nameOf(first);
    const title = `${byteText(bytes)} at ${BigInt(first.start).toString(16)}: ${what}`;
    return html`<i class="${colour}" style="width:${percent(bytes, whole)}" title="${title}"></i>`;
  });
}

export function percent(part: number, whole: number): string {
  return `${whole === 0 ? 0 : Number(((part / whole) * 100).toFixed(4))}%`;
}

function nameOf({ name, prot, group }: MappingPicture): string {
  return `${prot} ${name === '' ? `${group} memory` : name}`;
}

/** The two strips of a task, each over the whole width. */
export function memoryStrips(mappings: readonly MappingPicture[]): Html {
  const { all, saved } = memorySum(mappings);
  const strip = (label: string, size: (mapping: MappingPicture) => number, whole: number): Html =>
    html`<div class="row"><span>${label}</span><div class="strip">${pieces(mappings, size, whole)}</div><span>${byteText(whole)}</span></div>`;
  return html`${strip('mapped', sizeOf, all)}${saved === 0 ? undefined : strip('saved', savedOf, saved)}`;
}

/** How much of a task was saved, on a scale that all tasks share. */
export function savedBar(mappings: readonly MappingPicture[], whole: number): Html {
  const sums = COLOURS.map(([colour]) => {
    const bytes = mappings
      .filter((mapping) => colourOf(mapping) === colour)
      .reduce((sum, mapping) => sum + savedOf(mapping), 0);
    return html`<i class="${colour}" style="width:${percent(bytes, whole)}"></i>`;
  });
  return html`<div class="bar">${sums}</div>`;
}

/** More rows than a browser likes to lay out. */
const ROWS_MAX = 2000;

export function memoryTable(mappings: readonly MappingPicture[]): Html {
  const largest = Math.max(1, ...mappings.map(sizeOf));
  const rows = mappings.slice(0, ROWS_MAX).map((mapping) => {
    const colour = colourOf(mapping);
    return html`<tr>
<td class="mono">${BigInt(mapping.start).toString(16)}-${BigInt(mapping.end).toString(16)}</td>
<td class="mono">${mapping.prot}</td>
<td class="number">${byteText(sizeOf(mapping))}</td>
<td class="number">${savedOf(mapping) === 0 ? '' : byteText(savedOf(mapping))}</td>
<td class="gauge"><div class="bar"><i class="${colour}" style="width:${percent(sizeOf(mapping), largest)}"></i></div></td>
<td class="text">${mapping.name === '' ? `[${mapping.group}]` : mapping.name}</td></tr>`;
  });
  const left = mappings.length - rows.length;
  return html`<details><summary>${plural(mappings.length, 'mapping')}</summary><div class="scroll"><table class="mappings">
<tr><th>Addresses</th><th></th><th class="number">Size</th><th class="number">Saved</th><th>To scale</th><th>What</th></tr>
${rows}</table>${left > 0 ? html`<p class="soft">and ${left} more, see crit x DIR mems</p>` : undefined}</div></details>`;
}
