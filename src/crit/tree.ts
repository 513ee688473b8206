/** `crit tree DIR`: a folder of images as a tree of tasks, for people at a terminal. */
import { byteText, plural } from './describe-file.ts';
import type { ImageFolder } from './image-folder.ts';
import { type DescriptorPicture, drawPicture, type MappingPicture, memorySum, type TaskPicture } from './picture.ts';

export interface TreeOptions {
  /** All mappings, not only the largest. */
  readonly showsAll: boolean;
}

/** So many mappings are shown by name; the others are small. */
const MAPPINGS_SHOWN = 5;

/** Byte strings, one a line. */
export function drawTree(folder: ImageFolder, options: TreeOptions): string[] {
  const picture = drawPicture(folder);
  const saved = picture.tasks.reduce((sum, { mappings }) => sum + memorySum(mappings).saved, 0);
  const threads = picture.tasks.reduce((sum, task) => sum + (task.state === 'dead' ? 0 : task.threads.length), 0);
  const head = [
    plural(picture.tasks.length, 'process', 'processes'),
    plural(threads, 'thread'),
    `${byteText(saved)} of private memory saved`,
    plural(picture.openFiles.length, 'open file'),
    ...(picture.hasEarlier ? ['an earlier dump before it'] : []),
  ];
  const lines = [head.join(', '), ''];
  picture.roots.forEach((root, index) => {
    lines.push(...drawTask(root, options, index === picture.roots.length - 1, true));
  });
  for (const problem of folder.problems) lines.push(`damaged: ${problem}`);
  return lines.map((line) => line.trimEnd());
}

function drawTask(task: TaskPicture, options: TreeOptions, isLast: boolean, isRoot: boolean): string[] {
  const stem = task.children.length > 0 ? '| ' : '  ';
  const body = task.state === 'dead' ? [] : details(task, options).map((line) => stem + line);
  const below = task.children.flatMap((child, index) => {
    return drawTask(child, options, index === task.children.length - 1, false);
  });
  const own = [heading(task), ...body, ...below];
  if (isRoot) return own;
  const [first = '', ...rest] = own;
  return [`+-${first}`, ...rest.map((line) => (isLast ? '  ' : '| ') + line)];
}

function heading(task: TaskPicture): string {
  const words = [`${task.pid} ${task.name === '' ? '(unknown)' : task.name}`];
  if (task.state !== 'running') words.push(task.state);
  if (task.user !== '' && task.user !== 'root') words.push(task.user);
  if (task.sid === task.pid) words.push('leads its session');
  else words.push(`session ${task.sid}`);
  if (task.pgid !== task.sid) words.push(task.pgid === task.pid ? 'leads its group' : `group ${task.pgid}`);
  return words.join(', ');
}

function details(task: TaskPicture, options: TreeOptions): string[] {
  const others = task.threads.filter(({ tid }) => tid !== task.pid);
  const lines: string[] = [];
  if (task.executable !== '') lines.push(`program  ${task.executable}`);
  if (task.command.length > 1) lines.push(`command  ${task.command.join(' ')}`);
  if (task.folder !== '')
    lines.push(`folder   ${task.folder}${task.root === '/' || task.root === '' ? '' : `, root ${task.root}`}`);
  if (others.length > 0)
    lines.push(
      ...labelled(
        'threads',
        shortList(
          others.map(({ tid, name }) => `${tid} ${name}`),
          options,
        ),
      ),
    );
  lines.push(...labelled('memory', memory(task.mappings, options)));
  if (task.sharesFilesWith !== undefined) lines.push(`files    the same as those of ${task.sharesFilesWith}`);
  else if (task.descriptors.length > 0) lines.push(...labelled('files', task.descriptors.map(descriptor)));
  return [...lines, ''];
}

function memory(mappings: readonly MappingPicture[], { showsAll }: TreeOptions): string[] {
  const { all, saved } = memorySum(mappings);
  const lines = [`${byteText(all)} in ${plural(mappings.length, 'mapping')}, ${byteText(saved)} saved`];
  const size = ({ start, end }: MappingPicture) => end - start;
  const shown = showsAll ? mappings : mappings.toSorted((a, b) => size(b) - size(a)).slice(0, MAPPINGS_SHOWN);
  for (const mapping of shown) {
    const at = showsAll ? `${BigInt(mapping.start).toString(16).padStart(12)} ` : '';
    const part = `${at}${byteText(size(mapping)).padStart(8)} ${mapping.prot} ${mapping.name === '' ? `[${mapping.group}]` : mapping.name}`;
    lines.push(mapping.savedBytes === 0 ? part : `${part}, ${byteText(mapping.savedBytes)} saved`);
  }
  return lines;
}

function descriptor({ fd, closesOnExec, file }: DescriptorPicture): string {
  const name = file.name === '' ? file.kind : file.kind === 'file' ? file.name : `${file.kind} ${file.name}`;
  const detail = [file.detail, closesOnExec ? 'closes on exec' : ''].filter((text) => text !== '').join(', ');
  return `${String(fd).padStart(3)}  ${name}${detail === '' ? '' : ` (${detail})`}`;
}

function shortList(items: readonly string[], { showsAll }: TreeOptions): string[] {
  return showsAll || items.length <= 6 ? [...items] : [...items.slice(0, 5), `and ${items.length - 5} more`];
}

/** The label before the first line, blanks before the others. */
function labelled(label: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => `${(index === 0 ? label : '').padEnd(9)}${line}`);
}
