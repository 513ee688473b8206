/** Which mappings are nothing but memory for data: a task may have thousands of them, and few others. */
import type { VmaEntry } from '../../image/gen/vma.ts';
import { VMA_ANON_PRIVATE, VMA_AREA_REGULAR } from '../../image/vma-status.ts';
import { MAP_ANONYMOUS, MAP_NORESERVE, MAP_PRIVATE, PROT_EXEC } from '../../linux/abi/mman.ts';

/** Private anonymous memory without advice, lock, seal or name, that is not to be executed. */
export function isPlain({ status, prot, flags, madv, sealed_ext, name_ext }: VmaEntry): boolean {
  return (
    status === (VMA_AREA_REGULAR | VMA_ANON_PRIVATE) &&
    (flags & ~MAP_NORESERVE) === (MAP_PRIVATE | MAP_ANONYMOUS) &&
    (prot & PROT_EXEC) === 0 &&
    madv === undefined &&
    sealed_ext !== true &&
    name_ext === undefined
  );
}
