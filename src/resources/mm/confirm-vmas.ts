/** Whether mappings are as they were described, for a description that is older than the freeze. Pure. */
import type { CriuErrorFields } from '../../base/errors.ts';
import { VMA_AREA_GUARD } from '../../image/vma-status.ts';
import type { SmapsEntry } from '../../proc/smaps.ts';
import { type DescribedVma, describeVmas, nameOf } from './dump-vmas.ts';

/**
 * Corrects flags in the descriptions by what smaps says now, in order of address; addresses are known to be right.
 * `isTwin`: of a fork, which has no shared mappings, and those of MADV_DONTFORK neither. Returns what can't be corrected.
 */
export function confirmVmas(
  vmas: readonly DescribedVma[],
  now: readonly SmapsEntry[],
  isTwin: boolean,
  label: string,
): CriuErrorFields[] {
  const problems: CriuErrorFields[] = [];
  const equal = new Map<ReadonlySet<string>, ReadonlySet<string>>();
  let next = 0;
  for (const vma of vmas) {
    if ((vma.entry.status & VMA_AREA_GUARD) !== 0) continue;
    const { seen } = vma;
    while ((now[next]?.end ?? Number.POSITIVE_INFINITY) <= seen.start) next++;
    const found = now[next];
    // The agent's room may have become one with a neighbour.
    const isThere = found !== undefined && found.start <= seen.start && found.end >= seen.end;
    const isLeftOut = isTwin && (seen.isShared || seen.vmFlags.has('dc'));
    if (!isThere) {
      if (!isLeftOut) problems.push(changed(seen, label));
      continue;
    }
    if (seen.protectionKey === found.protectionKey) {
      if (equal.get(seen.vmFlags) === found.vmFlags) continue;
      if (seen.vmFlags.symmetricDifference(found.vmFlags).size === 0) {
        equal.set(seen.vmFlags, found.vmFlags);
        continue;
      }
    }
    if (isTwin && found.vmFlags.has('wf') && !seen.vmFlags.has('wf')) problems.push(changed(seen, label));
    else problems.push(...correct(vma, found, label));
  }
  return problems;
}

function correct({ seen, entry }: DescribedVma, { vmFlags, protectionKey }: SmapsEntry, label: string) {
  const { vmas, problems } = describeVmas([{ ...seen, vmFlags, protectionKey }], label);
  for (const { entry: right } of vmas) {
    entry.flags = right.flags;
    entry.madv = right.madv;
    entry.lock_on_fault_ext = right.lock_on_fault_ext;
    entry.sealed_ext = right.sealed_ext;
  }
  return problems;
}

/** A twin does not have its memory as it was. */
function changed(seen: SmapsEntry, label: string): CriuErrorFields {
  return {
    object: `${label}: mapping ${nameOf(seen)}`,
    action: 'cannot be dumped: madvise(2) has changed it while the dump began, and its content was not copied',
    remedy: 'try again',
  };
}
