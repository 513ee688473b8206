/**
 * `crit diff A B`: what is different between two folders of images: images that only one has, entries and fields that
 * differ, pages of memory with other content. Made for two dumps of the same tree.
 */
import { CriuError } from '../base/errors.ts';
import { parseImage } from '../image/image-file.ts';
import { IMAGE_KINDS, type ImageKind, type ImageKindName } from '../image/image-kinds.ts';
import type { MessageType } from '../image/message-type.ts';
import { plural } from './describe-file.ts';
import { countDifferentPages } from './diff-pages.ts';
import type { ImageFiles } from './image-folder.ts';
import { ImageFolder } from './image-folder.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './json-value.ts';
import { messageToJson } from './message-json.ts';

export interface DiffOptions {
  /** Differences shown of one image; the rest is counted. */
  readonly linesMax: number;
}

/** One line for each difference; empty when the folders say the same. Throws a CriuError for damaged images. */
export function diffFolders(a: ImageFiles, b: ImageFiles, options: DiffOptions): string[] {
  const [imagesA, imagesB] = [a, b].map((files) => {
    const list = new ImageFolder(files).images().filter(({ kind }) => kind !== 'pages' && kind !== 'stats');
    return new Map(list.map((image) => [image.name, image]));
  });
  const lines: string[] = [];
  for (const [name, { kind }] of imagesA ?? []) {
    if (imagesB?.has(name) !== true) lines.push(`${name}: only in the first`);
    else lines.push(...limited(name, diffImage(kind, name, a, b), options));
  }
  for (const name of imagesB?.keys() ?? []) if (imagesA?.has(name) !== true) lines.push(`${name}: only in the second`);
  return lines;
}

function limited(name: string, differences: readonly string[], { linesMax }: DiffOptions): string[] {
  const shown = differences.slice(0, linesMax).map((line) => `${name}: ${line}`);
  const left = differences.length - shown.length;
  return left > 0 ? [...shown, `${name}: and ${plural(left, 'more difference')}`] : shown;
}

function diffImage(kind: ImageKindName, name: string, a: ImageFiles, b: ImageFiles): string[] {
  const [bytesA, bytesB] = [readBytes(a, name), readBytes(b, name)];
  const isPagemap = IMAGE_KINDS[kind].layout === 'pagemap';
  // The same map may lead to other pages.
  if (!isPagemap && Buffer.compare(bytesA, bytesB) === 0) return [];
  if (IMAGE_KINDS[kind].layout === 'raw')
    return [`${bytesA.length} bytes, ${bytesB.length} in the second, with other content`];
  const differences = diffLists(toEntries(kind, bytesA, name), toEntries(kind, bytesB, name), '');
  if (!isPagemap) return differences;
  // Ranges of pages follow from what was touched; their content is what counts.
  return countDifferentPages(
    { pagemap: parseImage('pagemap', bytesA, name), files: a },
    { pagemap: parseImage('pagemap', bytesB, name), files: b },
  );
}

function readBytes(files: ImageFiles, name: string): Uint8Array {
  const bytes = files.tryReadBytes(name);
  if (bytes === undefined) throw new CriuError({ object: name, action: 'cannot read it' });
  return bytes;
}

/** The entries of an image as JSON; payloads as their length, for they are compared by their bytes already. */
function toEntries(kind: ImageKindName, bytes: Uint8Array, name: string): JsonObject[] {
  const spec: ImageKind = IMAGE_KINDS[kind];
  const content = parseImage(kind, bytes, name) as unknown;
  if (spec.layout === 'raw' || spec.layout === 'pagemap') return [];
  const type = spec.type as MessageType<unknown>;
  if (spec.layout === 'ghost-file') {
    const { message, payload } = content as { message: unknown; payload?: Uint8Array };
    return [{ ...messageToJson(type, message, true), content: hash(payload ?? bytes) }];
  }
  return (content as unknown[]).map((element) => {
    if (spec.layout === 'entries') return messageToJson(type, element, true);
    const { message, payload, messages } = element as {
      message: unknown;
      payload?: Uint8Array;
      messages?: { payload: Uint8Array }[];
    };
    const data = payload ?? Buffer.concat((messages ?? []).map((part) => part.payload));
    return { ...messageToJson(type, message, true), data: hash(data) };
  });
}

/** Says that contents differ without showing them. */
function hash(bytes: Uint8Array): string {
  return `${plural(bytes.length, 'byte')} with hash ${Bun.hash.crc32(bytes).toString(16).padStart(8, '0')}`;
}

/** Fields that tell elements of a list apart, the first that all of them have. */
const KEYS = ['fd', 'pid', 'id', 'start', 'pipe_id', 'ino', 'mnt_id', 'orig_id', 'it_id', 'vaddr', 'name'];

function diffLists(a: readonly JsonValue[], b: readonly JsonValue[], path: string): string[] {
  const key = KEYS.find((name) => isKey(name, a) && isKey(name, b));
  if (key === undefined) return diffByIndex(a, b, path);
  const byKey = (list: readonly JsonValue[]) => new Map(list.map((element) => [(element as JsonObject)[key], element]));
  const [mapA, mapB] = [byKey(a), byKey(b)];
  const lines: string[] = [];
  for (const [value, element] of mapA) {
    const at = `${path}[${key} ${String(value)}]`;
    const other = mapB.get(value);
    lines.push(...(other === undefined ? [`${at}: only in the first`] : diffValues(element, other, at)));
  }
  for (const value of mapB.keys())
    if (!mapA.has(value)) lines.push(`${path}[${key} ${String(value)}]: only in the second`);
  return lines;
}

/** Whether every element has the field, each with a value of its own. */
function isKey(name: string, list: readonly JsonValue[]): boolean {
  const values = list.map((element) => (isJsonObject(element) ? element[name] : undefined));
  return (
    values.every((value) => value !== undefined && typeof value !== 'object') && new Set(values).size === values.length
  );
}

function diffByIndex(a: readonly JsonValue[], b: readonly JsonValue[], path: string): string[] {
  const lines: string[] = [];
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const [left, right] = [a[index], b[index]];
    const at = `${path}[${index}]`;
    if (left === undefined) lines.push(`${at}: only in the second`);
    else if (right === undefined) lines.push(`${at}: only in the first`);
    else lines.push(...diffValues(left, right, at));
  }
  return lines;
}

function diffValues(a: JsonValue, b: JsonValue, path: string): string[] {
  if (Array.isArray(a) && Array.isArray(b)) return diffLists(a, b, path);
  if (isJsonObject(a) && isJsonObject(b)) {
    const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    return names.flatMap((name) => {
      const at = path === '' ? name : `${path}.${name}`;
      const [left, right] = [a[name], b[name]];
      if (left === undefined) return [`${at}: ${display(right)} only in the second`];
      if (right === undefined) return [`${at}: ${display(left)} only in the first`];
      return diffValues(left, right, at);
    });
  }
  return a === b ? [] : [`${path}: ${display(a)}, ${display(b)} in the second`];
}

function display(value: JsonValue | undefined): string {
  if (Array.isArray(value)) return plural(value.length, 'element');
  if (typeof value === 'object') return 'a message';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
