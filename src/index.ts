/**
 * The library. Two ways lead to the same work:
 *
 * - `CriuClient` starts the executable and asks it (RPC): for programs on Node.js or Bun.
 * - `checkpoint`, `restore` and `check` do it inside of this process, and `openImages` reads a folder of images: for
 *   programs on Bun only, since they make system calls through it.
 *
 * Nothing that needs Bun is loaded before it is used, so Node.js can load this module.
 */

import type { CheckpointImages } from './library/images.ts';
import type { CheckResult } from './library/in-process.ts';
import type { CheckpointOptions, RequestOptions } from './library/request-options.ts';

export { CriuError } from './base/errors.ts';
export { detectImageKind, parseImage } from './image/image-file.ts';
export type { ContentOf, ImageKindName } from './image/image-kinds.ts';
export {
  CriuClient,
  type CriuClientOptions,
  CriuRequestError,
  type CriuVersion,
  type Notification,
  type OnNotification,
} from './library/criu-client.ts';
export type { CheckpointImages, ImageTask } from './library/images.ts';
export type { CheckpointOptions, CheckResult, RequestOptions };

/** Saves a tree of processes; this process must not be part of it. Throws CriuError; then the tree runs as before. */
export async function checkpoint(options: CheckpointOptions): Promise<void> {
  await (await inProcess()).checkpoint(options);
}

/** Brings a tree back; its root is a child of this process. Throws CriuError; then nothing of the tree is there. */
export async function restore(options: RequestOptions): Promise<{ readonly pid: number }> {
  return await (await inProcess()).restore(options);
}

/** Asks the kernel for what every checkpoint needs. */
export async function check(): Promise<CheckResult> {
  return await (await inProcess()).check();
}

/** Reads a folder of images. Throws CriuError when there is no such folder. */
export async function openImages(folder: string): Promise<CheckpointImages> {
  assertBun();
  const { CheckpointImages } = await import('./library/images.ts');
  return new CheckpointImages(folder);
}

async function inProcess() {
  assertBun();
  return await import('./library/in-process.ts');
}

function assertBun(): void {
  if (!('Bun' in globalThis)) throw new Error('this needs Bun: on Node.js use CriuClient');
}
