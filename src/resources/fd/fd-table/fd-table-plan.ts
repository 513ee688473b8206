/**
 * A descriptor table that is going to be filled: every number is known while planning, because the kernel always takes
 * the lowest free one (man 2 open: "the lowest-numbered file descriptor not currently open"; fs/file.c alloc_fd()).
 *
 * The plan starts with an empty table. Nobody else may open or close descriptors of the table between the steps, unless
 * everything opened is closed again. Where a step returns a number, the agent checks it against the plan.
 */
import type { Reason, SharedReasons, TextReason } from '../../../agent/ops.ts';
import { assert } from '../../../base/errors.ts';
import {
  AT_FDCWD,
  F_DUPFD_CLOEXEC,
  F_SETFD,
  FD_CLOEXEC,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
} from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { type ManySteps, StepList } from '../step.ts';
import type { StepArg } from '../step-args.ts';
import type { StepFrame } from '../step-frame.ts';
import { NumberSet } from './number-set.ts';

/** A number that a description is to have in the end. */
export interface Slot {
  readonly fd: number;
  readonly isCloexec: boolean;
}

/** A description that is in the table, and where it is to be. */
export interface Placement {
  /** The number it has now. */
  readonly from: number;
  /** Whether that descriptor has FD_CLOEXEC. */
  readonly isCloexec: boolean;
  /** The numbers it is to have; none parks it. */
  readonly slots: readonly Slot[];
}

export class FdTablePlan {
  /** Where parked descriptors start: above all final numbers. */
  readonly parkingStart: number;
  readonly #used = new NumberSet();
  #lowestFree = 0;
  #highest = -1;
  #steps = new StepList();

  /** @param highestFinal the highest number that the table is to have in the end; −1 when it stays empty */
  constructor(highestFinal: number) {
    this.parkingStart = highestFinal + 1;
  }

  /** The steps planned since the last call. */
  take(): StepList {
    const steps = this.#steps;
    this.#steps = new StepList();
    return steps;
  }

  /** How many there are. */
  get stepCount(): number {
    return this.#steps.length;
  }

  /** How many descriptors RLIMIT_NOFILE must allow for everything planned so far. */
  get neededLimit(): number {
    return this.#highest + 1;
  }

  /** Whether something is at number `fd`. */
  has(fd: number): boolean {
    return this.#used.has(fd);
  }

  /** A step that neither takes nor frees a number. */
  do(because: Reason, nr: number, ...args: StepArg[]): void {
    this.#steps.add(because, nr, args);
  }

  /** The same, where the result is known. */
  doExpecting(because: Reason, expected: number, nr: number, ...args: StepArg[]): void {
    this.#steps.add(because, nr, args, expected);
  }

  /** setsockopt(2) of an option that is an int. */
  setOption(because: Reason, fd: number, level: number, option: number, value: number): void {
    this.#steps.addOption(because, fd, level, option, value);
  }

  /** Room for so many more steps. */
  reserve(count: number): void {
    this.#steps.reserve(count);
  }

  /** A step of that sort which may fail. */
  doUnchecked(because: TextReason, nr: number, ...args: StepArg[]): void {
    this.#steps.addTolerant(because, nr, args);
  }

  /** A step that returns a new descriptor; returns its number. */
  open(because: Reason, nr: number, ...args: StepArg[]): number {
    const fd = this.#take();
    this.#steps.add(because, nr, args, fd);
    return fd;
  }

  /** All steps since there were `start`, to be copied; see StepList.tryFrameFrom. */
  tryFrameFrom(start: number, given: number): StepFrame | undefined {
    return this.#steps.tryFrameFrom(start, given);
  }

  /** Copied steps that return a new descriptor; returns its number. See StepList.addFrame. */
  openFrame(frame: StepFrame, data: Uint8Array, given: readonly Uint8Array[], reasons: SharedReasons): number {
    const fd = this.#take();
    this.#steps.addFrame(frame, fd, data, given, reasons);
    return fd;
  }

  /** The same step for the next `count` numbers, all of which are free. The caller says which it expects. */
  openMany(count: number, nr: number, ...args: StepArg[]): ManySteps {
    const first = this.lowestFree;
    this.#used.addRange(first, count);
    this.#highest = Math.max(this.#highest, first + count - 1);
    return this.#steps.addMany(count, nr, args, 0);
  }

  /** The same step many times; it neither takes nor frees a number. */
  doMany(count: number, nr: number, ...args: StepArg[]): ManySteps {
    return this.#steps.addMany(count, nr, args);
  }

  /** The same where the results are known: the caller says them. */
  doManyExpecting(count: number, nr: number, ...args: StepArg[]): ManySteps {
    return this.#steps.addMany(count, nr, args, 0);
  }

  /** The number that the next open takes. */
  get lowestFree(): number {
    while (this.#used.has(this.#lowestFree)) this.#lowestFree++;
    return this.#lowestFree;
  }

  /** A step (pipe2, socketpair) that makes two descriptors and returns 0. The caller passes room for their numbers. */
  openPair(because: Reason, nr: number, ...args: StepArg[]): [number, number] {
    this.#steps.add(because, nr, args, 0);
    return [this.#take(), this.#take()];
  }

  /** The same step many times. `numbers` gets those of each pair, two by two. */
  openPairs(count: number, numbers: number[], nr: number, ...args: StepArg[]): ManySteps {
    for (let i = 0; i < 2 * count; i++) numbers.push(this.#take());
    return this.#steps.addMany(count, nr, args, 0);
  }

  /** Takes the free numbers below that one, at most so many, for a while; returns those to be closed afterwards. */
  plug(fd: number, max: number): number[] {
    const plugs: number[] = [];
    while (this.lowestFree < fd && plugs.length < max) {
      plugs.push(this.open('take a number', SYS.openat, AT_FDCWD, { text: '/' }, O_PATH | O_DIRECTORY | O_CLOEXEC));
    }
    return plugs;
  }

  close(fd: number): void {
    if (!this.#used.delete(fd)) assert(false, `descriptor ${fd} is in the table`);
    if (fd < this.#lowestFree) this.#lowestFree = fd;
    this.#steps.add(['close descriptor', fd], SYS.close, [fd], 0);
  }

  /** dup3 onto number `to`, which is free. */
  dup(from: number, { fd, isCloexec }: Slot): void {
    if (this.#used.has(fd)) assert(false, `descriptor ${fd} is free`);
    this.#use(fd);
    const args = [from, fd, isCloexec ? O_CLOEXEC : 0];
    this.#steps.add(`give descriptor ${fd} its number`, SYS.dup3, args, fd);
  }

  /** Gives a descriptor another number. Costs nothing when it has it already. */
  move(from: number, isCloexec: boolean, to: Slot): void {
    if (from !== to.fd) {
      this.dup(from, to);
      this.close(from);
    } else if (isCloexec !== to.isCloexec) {
      this.do(`set FD_CLOEXEC of descriptor ${from}`, SYS.fcntl, from, F_SETFD, to.isCloexec ? FD_CLOEXEC : 0);
    }
  }

  /** Moves a descriptor above all final numbers; returns where it is. */
  park(from: number): number {
    let fd = this.parkingStart;
    while (this.#used.has(fd)) fd++;
    if (from >= this.parkingStart && from < fd) return from;
    this.#use(fd);
    const args = [from, F_DUPFD_CLOEXEC, this.parkingStart];
    this.#steps.add('put a descriptor out of the way', SYS.fcntl, args, fd);
    this.close(from);
    return fd;
  }

  /**
   * Brings descriptions from the numbers they were made with to their final ones, whatever the order: a number that
   * another one still sits on is vacated first. Returns, for each, the number by which it can be reached now.
   */
  place(placements: readonly Placement[]): number[] {
    if (!isCrossed(placements)) {
      return placements.map(({ from, isCloexec, slots }) => this.settle(from, isCloexec, slots));
    }
    const homes = new Array<number>(placements.length).fill(-1);
    const pending = placements.map((placement, index) => ({ ...placement, index }));
    while (pending.length > 0) {
      const taken = new Set(pending.map(({ from }) => from));
      const isFree = (slot: Slot, from: number) => slot.fd === from || !taken.has(slot.fd);
      const next = pending.findIndex(({ slots, from }) => slots.every((slot) => isFree(slot, from)));
      if (next < 0) this.#vacate(pending);
      for (const { from, isCloexec, slots, index } of next < 0 ? [] : pending.splice(next, 1)) {
        homes[index] = this.settle(from, isCloexec, slots);
      }
    }
    return homes;
  }

  /** Puts the first one that sits on a number of another one out of the way. */
  #vacate(pending: { from: number; isCloexec: boolean }[]): void {
    const [first] = pending;
    assert(first !== undefined, 'there is a descriptor to vacate');
    first.from = this.park(first.from);
    first.isCloexec = true;
  }

  /** The same for one, whose numbers are free, or its own. */
  settle(from: number, isCloexec: boolean, slots: readonly Slot[]): number {
    let own = slots[0];
    if (own === undefined) return this.park(from);
    for (let i = 1; i < slots.length; i++) if (slots[i]?.fd === from) own = slots[i] ?? own;
    if (slots.length > 1) for (const slot of slots) if (slot !== own) this.dup(from, slot);
    this.move(from, isCloexec, own);
    return own.fd;
  }

  #take(): number {
    const fd = this.lowestFree;
    this.#use(fd);
    return fd;
  }

  #use(fd: number): void {
    this.#used.add(fd);
    if (fd > this.#highest) this.#highest = fd;
  }
}

/** Whether one of them sits on a number of another. */
function isCrossed(placements: readonly Placement[]): boolean {
  for (const { from } of placements) {
    for (const other of placements) {
      if (other.from === from) continue;
      for (const { fd } of other.slots) if (fd === from) return true;
    }
  }
  return false;
}
