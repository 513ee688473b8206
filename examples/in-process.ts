/**
 * Takes a snapshot of a process that runs on, without starting another program, and shows what is in it:
 *
 *     bun examples/in-process.ts PID FOLDER
 */
import { mkdirSync } from 'node:fs';
import { CriuError, check, checkpoint, type ImageTask, openImages } from 'criu-ts';

const pid = Number(process.argv[2]);
const folder = process.argv[3] ?? 'snapshot';

const { isGood, missing } = await check();
if (!isGood) console.log(`this kernel lacks:\n${missing.join('\n')}`);
mkdirSync(folder, { recursive: true });
try {
  await checkpoint({ pid, images_dir: folder, leave_running: true });
} catch (error) {
  if (!(error instanceof CriuError)) throw error;
  console.error(error.message);
  process.exit(1);
}

const images = await openImages(folder);
show(images.tree(), '');

function show({ pid, name, threads, children }: ImageTask, indent: string): void {
  const mappings = images.entries('mm', pid)?.[0]?.vmas.length ?? 0;
  console.log(`${indent}${pid} ${name}: ${threads.length} threads, ${mappings} mappings`);
  for (const child of children) show(child, `${indent}  `);
}
