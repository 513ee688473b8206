/** struct shmid64_ds of x86-64 (include/uapi/asm-generic/shmbuf.h, ipcbuf.h), and shmctl(2) with it. */
import { IPC_SET, IPC_STAT } from '../../linux/abi/ipc.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import { syscall } from '../../linux/kernel.ts';

const SHMID_DS_BYTES = 112;

/** What the kernel says of a segment. */
export interface Segment {
  readonly key: number;
  readonly uid: number;
  readonly gid: number;
  readonly cuid: number;
  readonly cgid: number;
  /** Permissions, SHM_DEST and SHM_LOCKED. */
  readonly mode: number;
  /** As it was asked for; the memory is whole pages. */
  readonly bytes: number;
  readonly attachments: number;
}

/** IPC_STAT in the ipc namespace of criu, or −errno. */
export function tryStatSegment(id: number): Segment | number {
  const raw = new Uint8Array(SHMID_DS_BYTES);
  const result = syscall(SYS.shmctl, id, IPC_STAT, raw);
  return result < 0 ? result : parseSegment(raw);
}

/** Parses struct shmid64_ds. */
export function parseSegment(raw: Uint8Array): Segment {
  const view = new DataView(raw.buffer, raw.byteOffset, SHMID_DS_BYTES);
  const u32 = (at: number) => view.getUint32(at, true);
  const u64 = (at: number) => Number(view.getBigUint64(at, true));
  return {
    key: u32(0), uid: u32(4), gid: u32(8), cuid: u32(12), cgid: u32(16), mode: u32(20), bytes: u64(48), attachments: u64(88),
  }; // biome-ignore format: a table
}

/** IPC_SET: owner and permissions; 0 or −errno. */
export function trySetSegment(id: number, { uid, gid, mode }: Pick<Segment, 'uid' | 'gid' | 'mode'>): number {
  const raw = new Uint8Array(SHMID_DS_BYTES);
  const view = new DataView(raw.buffer);
  view.setUint32(4, uid, true);
  view.setUint32(8, gid, true);
  view.setUint32(20, mode & 0o777, true);
  return syscall(SYS.shmctl, id, IPC_SET, raw);
}
