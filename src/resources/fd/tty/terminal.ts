/**
 * What a terminal device is, told by its device number, and its number in the image (Documentation/admin-guide/devices.txt).
 *
 * A number in tty-info.img is twice an index, plus one for the master side of a pseudo terminal. The indexes of what is
 * not a pseudo terminal are fixed; they are CRIU's (criu/tty.c).
 */
import { TtyType } from '../../../image/gen/tty.ts';
import { major, minor } from '../../../linux/syscalls/fs.ts';

/** A kind of terminal, or one side of pseudo terminal `index`. */
export interface Terminal {
  readonly type: TtyType;
  /** Pseudo terminals: whether it is the master side. */
  readonly isMaster: boolean;
  /** Pseudo terminals: the slave is /dev/pts/INDEX. A master does not show it in its device number: −1. */
  readonly index: number;
}

const TTY_MAJOR = 4;
const TTYAUX_MAJOR = 5;
const UNIX98_PTY_MASTER_MAJOR = 128;
const UNIX98_PTY_SLAVE_MAJOR = 136;
const USB_SERIAL_MAJOR = 188;
const LOW_DENSE_SERIAL_MAJOR = 204;
const VT_MINOR_MAX = 63;
const AUXILIARY: readonly (TtyType | undefined)[] = [TtyType.CTTY, TtyType.CONSOLE, TtyType.PTY];

/** The terminal of a device number (as stat(2) gives it); undefined when it is none, or none of a known kind. */
export function terminalOf(rdev: number): Terminal | undefined {
  const number = minor(rdev);
  const simple = (type: TtyType): Terminal => ({ type, isMaster: false, index: -1 });
  switch (major(rdev)) {
    case TTYAUX_MAJOR: {
      const type = AUXILIARY[number];
      return type === undefined ? undefined : { type, isMaster: type === TtyType.PTY, index: -1 };
    }
    case TTY_MAJOR:
      return simple(number <= VT_MINOR_MAX ? TtyType.VT : TtyType.SERIAL);
    case USB_SERIAL_MAJOR:
    case LOW_DENSE_SERIAL_MAJOR:
      return simple(TtyType.SERIAL);
    case UNIX98_PTY_MASTER_MAJOR:
      return { type: TtyType.PTY, isMaster: true, index: -1 };
    case UNIX98_PTY_SLAVE_MAJOR:
      return { type: TtyType.PTY, isMaster: false, index: number };
    default:
      return undefined;
  }
}

/** The key by which a terminal is declared external or inherited: `tty[RDEV:DEV]`, hexadecimal. */
export function terminalKey(rdev: number, dev: number): string {
  return `tty[${rdev.toString(16)}:${dev.toString(16)}]`;
}

/** The number of one side of a pseudo terminal. */
export const ptyId = (index: number, isMaster: boolean) => 2 * index + (isMaster ? 1 : 0);

/** CRIU restores no higher index. */
const PTY_INDEX_MAX = 1000;
const FIRST_ID: Readonly<Record<number, number>> = {
  [TtyType.CONSOLE]: 2004,
  [TtyType.VT]: 2008,
  [TtyType.CTTY]: 2012,
  [TtyType.SERIAL]: 2020,
  [TtyType.EXT_TTY]: 2026,
};
/** Numbers that mean nothing to CRIU but are valid for it: for a second terminal of a kind that CRIU gives one number. */
const SPARE_ID = 2154;
const HIGH_ID = 1 << 16;

/** Gives terminals their numbers in the image: the same as CRIU, where it has one for each. */
export class TerminalIds {
  readonly #ids = new Map<string, number>();
  readonly #taken = new Set<number>();

  /** The number of a terminal; `key` tells terminals of one type apart. */
  identify({ type, isMaster, index }: Terminal, key: string): number {
    const name = `${type} ${isMaster} ${key}`;
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    const id = type === TtyType.PTY ? this.#ptyId(index, isMaster) : this.#freeFrom(FIRST_ID[type] ?? SPARE_ID, type);
    this.#ids.set(name, id);
    this.#taken.add(id);
    return id;
  }

  #ptyId(index: number, isMaster: boolean): number {
    return ptyId(index, isMaster) + (index > PTY_INDEX_MAX ? HIGH_ID : 0);
  }

  #freeFrom(first: number, type: TtyType): number {
    let id = first;
    while (this.#taken.has(id)) id = type === TtyType.EXT_TTY ? id + 2 : Math.max(SPARE_ID, id + 1);
    return id;
  }
}
