/**
 * Suspends a process, and brings it back later, from Node.js or Bun:
 *
 *     node examples/client.mjs checkpoint FOLDER PID
 *     node examples/client.mjs restore FOLDER
 *
 * `criu` is started for each; the variable CRIU names the executable when it is not on the PATH.
 */
import { mkdirSync } from 'node:fs';
import { CriuClient, CriuRequestError } from 'criu-ts';

const [action, folder = 'checkpoint', pid] = process.argv.slice(2);
const criu = new CriuClient({ criu: process.env.CRIU ?? 'criu' });

try {
  if (action === 'checkpoint') {
    mkdirSync(folder, { recursive: true });
    // The second argument hears of each step, and could stop the work by returning false.
    await criu.checkpoint({ pid: Number(pid), images_dir: folder }, ({ hook }) => {
      console.log(`hook ${hook}`);
      return true;
    });
    console.log(`process ${pid} is in ${folder}`);
  } else {
    const restored = await criu.restore({ images_dir: folder });
    console.log(`process ${restored.pid} runs again`);
  }
} catch (error) {
  if (!(error instanceof CriuRequestError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
