/**
 * A tmpfs that only exists in a mount namespace of its own, held by a sleeping process. Its path goes through
 * /proc/PID/root, so criu and the tests can use it without leaving the host's namespace, and nothing stays mounted
 * when the holder ends.
 */
import { existsSync } from 'node:fs';
import { makeFolder, trackProcess } from './harness.ts';

export interface PrivateMount {
  /** The folder as seen from the host's namespace. */
  readonly path: string;
}

/** Mounts a tmpfs with the given options ("size=256k", "ro"). Throws where mount namespaces can't be made. */
export async function mountPrivateTmpfs(options: string): Promise<PrivateMount> {
  const dir = makeFolder('mount');
  const script = 'mount -t tmpfs -o "$1" none "$2" && : > "$3" && exec sleep 110';
  const marker = `${dir}-ready`;
  const command = ['unshare', '--mount', 'sh', '-c', script, 'sh', options, dir, marker];
  const child = Bun.spawn(command, { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' });
  trackProcess(child.pid);
  for (let waitedMs = 0; waitedMs < 5000 && !existsSync(marker); waitedMs += 5) await Bun.sleep(5);
  if (!existsSync(marker)) throw new Error('cannot mount a tmpfs in a mount namespace (needs unshare and mount)');
  await Bun.file(marker).delete();
  return { path: `/proc/${child.pid}/root${dir}` };
}
