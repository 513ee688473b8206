/**
 * Hundreds of small files of /proc/sys, read by one program of system calls (own-calls.ts). Two readings of the same files
 * are compared as bytes; only what is asked for becomes text.
 */
import { Program, type Result } from '../../agent/program.ts';
import { byteString } from '../../base/bytes.ts';
import { O_CLOEXEC, O_RDONLY } from '../../linux/abi/fcntl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { tryReadFile, tryStat } from '../../linux/syscalls/fs.ts';
import { OwnCalls } from '../../tracee/own-calls.ts';

export const SETTINGS_ROOT = '/proc/sys';

/** Whether the namespace that we are in has that file. */
export const hasSetting = (path: string) => typeof tryStat(`${SETTINGS_ROOT}/${path}`) === 'object';

/** A longer file is read once more, by itself. */
const SLOT_BYTES = 256;

export class SettingFiles {
  /** Below /proc/sys. */
  readonly paths: readonly string[];
  readonly #calls: OwnCalls;
  readonly #reads: readonly Result[];
  readonly #slots: number;
  #earlier: Uint8Array | undefined = undefined;

  constructor(paths: readonly string[]) {
    this.paths = paths;
    const program = new Program();
    const slots = program.data(new Uint8Array(paths.length * SLOT_BYTES));
    this.#reads = paths.map((path, i) => {
      const file = program.call(SYS.openat, 0, program.string(`${SETTINGS_ROOT}/${path}`), O_RDONLY | O_CLOEXEC);
      const read = program.call(SYS.read, file, program.at(slots, i * SLOT_BYTES), SLOT_BYTES);
      program.call(SYS.close, file);
      return read;
    });
    this.#calls = new OwnCalls(program);
    this.#slots = this.#calls.offsetOf(slots);
  }

  /** Reads all files of the namespace that we are in; the reading before this one can be compared with. */
  read(): void {
    const { block } = this.#calls;
    this.#earlier = block.slice(this.#slots, this.#slots + this.paths.length * SLOT_BYTES);
    block.fill(0, this.#slots, this.#slots + this.paths.length * SLOT_BYTES);
    this.#calls.run();
  }

  /** The content of the file at an index; undefined when it is not there or cannot be read. */
  text(index: number): string | undefined {
    const read = this.#reads[index];
    const bytes = read === undefined ? -1 : this.#calls.result(read);
    if (bytes < 0) return undefined;
    if (bytes < SLOT_BYTES) return byteString(this.#slot(index).subarray(0, bytes));
    const text = tryReadFile(`${SETTINGS_ROOT}/${this.paths[index]}`);
    return typeof text === 'string' ? text : undefined;
  }

  /** The content that it had in the reading before, of a file that fits a slot. */
  earlierText(index: number): string | undefined {
    const slot = this.#earlier?.subarray(index * SLOT_BYTES, (index + 1) * SLOT_BYTES);
    const end = slot?.indexOf(0) ?? 0;
    return slot === undefined || end <= 0 ? undefined : byteString(slot.subarray(0, end));
  }

  /** Whether a file has another content than in the reading before. */
  hasChanged(index: number): boolean {
    const earlier = this.#earlier?.subarray(index * SLOT_BYTES, (index + 1) * SLOT_BYTES);
    return earlier === undefined || Buffer.compare(earlier, this.#slot(index)) !== 0;
  }

  #slot(index: number): Uint8Array {
    const start = this.#slots + index * SLOT_BYTES;
    return this.#calls.block.subarray(start, start + SLOT_BYTES);
  }
}
