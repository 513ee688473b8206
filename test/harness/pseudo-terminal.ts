/** Pseudo terminals whose master side a test has. */
import { constants, openSync, readSync } from 'node:fs';
import { TIOCGPTN, TIOCSPTLCK } from '../../src/linux/abi/tty.ts';
import { ioctl } from '../../src/linux/syscalls/fs.ts';

/** A new pseudo terminal: its master side and the path of its slave. */
export function openTerminal(): { master: number; path: string } {
  const master = openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY);
  const number = new Uint32Array(1);
  ioctl(master, TIOCSPTLCK, Uint32Array.of(0));
  ioctl(master, TIOCGPTN, number);
  return { master, path: `/dev/pts/${number[0]}` };
}

const FIONREAD = 0x541b;

/** What comes out of it, up to `wanted`, or within some seconds. */
export async function readTerminal(master: number, wanted: string): Promise<string> {
  const pending = new Uint32Array(1);
  let said = '';
  for (let naps = 0; naps < 500 && !said.includes(wanted); naps++) {
    const chunk = Buffer.alloc(1000);
    if (ioctl(master, FIONREAD, pending) === 0 && (pending[0] ?? 0) > 0)
      said += chunk.subarray(0, readSync(master, chunk));
    else await Bun.sleep(5);
  }
  return said;
}
