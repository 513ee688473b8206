/**
 * What each kind of file adds to its fdinfo. Inode numbers, positions and 64-bit masks are bigint: all 64 bits count.
 */

/** fs/eventfd.c. */
export interface EventfdInfo {
  readonly count: bigint;
  /** Same for all descriptors of one eventfd; since 5.2. */
  readonly id: number | undefined;
  /** EFD_SEMAPHORE; since 6.5, `undefined` before. */
  readonly isSemaphore: boolean | undefined;
}

/** One watched descriptor, fs/eventpoll.c. */
export interface EpollTarget {
  /** The number it had when it was added; another file may have that number now. */
  readonly tfd: number;
  readonly events: number;
  readonly data: bigint;
  readonly pos: bigint | undefined;
  readonly ino: bigint | undefined;
  /** Kernel-internal device number: minor in the low 20 bits. */
  readonly sdev: number | undefined;
}

/** A time of a timerfd. */
export interface TimerfdTime {
  readonly sec: bigint;
  readonly nsec: number;
}

/** fs/timerfd.c. */
export interface TimerfdInfo {
  readonly clockId: number;
  /** Expirations not read yet. */
  readonly ticks: bigint;
  /** TFD_TIMER_*. */
  readonly settimeFlags: number;
  /**
   * Time left, relative even for absolute timers. Zero when disarmed, but also for a periodic timer that expired and
   * was not read since: the kernel arms it again on read(2) or timerfd_gettime(2). Then `ticks` is not 0.
   */
  readonly value: TimerfdTime;
  readonly interval: TimerfdTime;
}

/** File handle of a watched file, for open_by_handle_at(2). */
export interface FileHandle {
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** fs/notify/fdinfo.c inotify_fdinfo(). */
export interface InotifyWatch {
  readonly wd: number;
  readonly ino: bigint;
  /** Kernel-internal device number: minor in the low 20 bits. */
  readonly sdev: number;
  readonly mask: number;
  readonly ignoredMask: number;
  /** `undefined` when the file system has no handles. */
  readonly handle: FileHandle | undefined;
}

/** What a fanotify mark is set on. */
export type FanotifyMark = FanotifyMarkBase &
  (
    | { readonly on: 'inode'; readonly ino: bigint; readonly sdev: number; readonly handle: FileHandle | undefined }
    | { readonly on: 'mount'; readonly mntId: number }
    | { readonly on: 'filesystem'; readonly sdev: number }
    | { readonly on: 'mount-namespace'; readonly mntNs: number }
  );

/** What all fanotify marks have. */
export interface FanotifyMarkBase {
  readonly flags: number;
  readonly mask: number;
  readonly ignoredMask: number;
}

/** fs/notify/fdinfo.c fanotify_show_fdinfo(). */
export interface FanotifyInfo {
  /** FAN_* of fanotify_init(2). */
  readonly flags: number;
  /** O_* for the files of events. */
  readonly eventFlags: number;
  readonly marks: readonly FanotifyMark[];
}

/** fs/pidfs.c. */
export interface PidfdInfo {
  /** -1 when the process is reaped, 0 when it is outside the reader's pid namespace. */
  readonly pid: number;
  readonly nsPid: readonly number[];
}

/** kernel/bpf/syscall.c bpf_map_show_fdinfo(). */
export interface BpfMapInfo {
  readonly type: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly extra: bigint;
  readonly memlockBytes: bigint;
  readonly id: number | undefined;
  readonly isFrozen: boolean;
}

/** kernel/bpf/syscall.c bpf_prog_show_fdinfo(). */
export interface BpfProgInfo {
  readonly type: number;
  readonly tag: string;
  readonly id: number | undefined;
}

/** fs/userfaultfd.c userfaultfd_show_fdinfo(). */
export interface UserfaultfdInfo {
  readonly api: bigint;
  readonly features: bigint;
  readonly ioctls: bigint;
}
