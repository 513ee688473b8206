/** The layout of a ring of asynchronous I/O: struct aio_ring and struct io_event (fs/aio.c, include/uapi/linux/aio_abi.h). */

export const AIO_HEADER_BYTES = 32;
export const AIO_EVENT_BYTES = 32;
/** Where the header has `head`. */
export const AIO_HEAD_OFFSET = 8;

/** struct aio_ring without the events. */
export interface RingHeader {
  /** How many events fit in. */
  readonly slots: number;
  /** The next event that the task takes; it may do so without asking the kernel. */
  readonly head: number;
  /** Where the kernel puts the next one. */
  readonly tail: number;
  readonly magic: number;
  readonly compatFeatures: number;
  readonly incompatFeatures: number;
  readonly headerBytes: number;
}

/** Parses the first 32 bytes of a ring. */
export function parseRing(bytes: Uint8Array): RingHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, AIO_HEADER_BYTES);
  const u32 = (at: number) => view.getUint32(at, true);
  return {
    slots: u32(4),
    head: u32(AIO_HEAD_OFFSET),
    tail: u32(12),
    magic: u32(16),
    compatFeatures: u32(20),
    incompatFeatures: u32(24),
    headerBytes: u32(28),
  };
}

/**
 * How many requests must complete in a new ring until its tail is where it was. When the tail is behind the head the
 * ring was full in between: a whole turn more, so that the kernel counts the events in it as it did.
 */
export function completionsNeeded({ slots, head, tail }: Pick<RingHeader, 'slots' | 'head' | 'tail'>): number {
  return tail < head ? slots + tail : tail;
}
