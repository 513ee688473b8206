/** What a plan of files is about: descriptor tables, and the open file descriptions that they refer to. */
import type { FileEntry } from '../../../image/gen/fdinfo.ts';
import type { FileStage } from '../../../restore/context.ts';
import type { RestoreTask } from '../../../restore/restore-tree.ts';
import type { FileKind } from '../file-kind.ts';
import type { StepList } from '../step.ts';
import type { FdTablePlan, Slot } from './fd-table-plan.ts';

/**
 * More than any number of a descriptor (image/validate.ts), where there is none. Not Infinity, which is no integer:
 * code for integers is left when it comes.
 */
export const NO_NUMBER = 0x7fff_ffff;

/** A descriptor table: one task's, or that of several tasks with the same files_id. */
export interface Table {
  /** Its place in tree order. */
  readonly order: number;
  readonly owner: RestoreTask;
  readonly plan: FdTablePlan;
  readonly steps: Record<FileStage, StepList>;
}

/** An open file description that some descriptor refers to. */
export interface Description {
  readonly entry: FileEntry;
  readonly kind: FileKind;
  /** The first table that uses it, and its numbers there, ascending. Mostly there is no other. */
  readonly table: Table;
  readonly slots: Slot[];
  /** Other tables that use it. */
  others: Map<Table, Slot[]> | undefined;
  home: Table;
  /** Its number at home: a final one, or where it is parked. While its home is planned: where it was made. */
  homeFd: number;
  isCloexec: boolean;
}

const NO_SLOTS: readonly Slot[] = [];

/** Its numbers in a table. */
export function slotsIn({ table, slots, others }: Description, wanted: Table): readonly Slot[] {
  return table === wanted ? slots : (others?.get(wanted) ?? NO_SLOTS);
}

/** Adds the next number in a table that it is to have. */
export function addSlot(description: Description, table: Table, slot: Slot): void {
  if (table === description.table) {
    description.slots.push(slot);
    return;
  }
  description.others ??= new Map();
  const slots = description.others.get(table);
  if (slots === undefined) description.others.set(table, [slot]);
  else slots.push(slot);
}

/** Whether each of them is at home with the one number that it is to have. */
export function areInPlace(group: readonly Description[], table: Table): boolean {
  for (const description of group) {
    const slots = slotsIn(description, table);
    const slot = slots[0];
    if (slots.length !== 1 || slot?.fd !== description.homeFd) return false;
    if (slot.isCloexec !== description.isCloexec) return false;
  }
  return true;
}
