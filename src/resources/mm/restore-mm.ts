/** Fields of struct mm_struct that are no mappings: code, data, brk, stack, arguments, environment, auxv, exe link. */
import type { Program, ProgramArg } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { MmEntry } from '../../image/gen/mm.ts';
import { PR_SET_MM, PR_SET_MM_MAP } from '../../linux/abi/prctl.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';

/** struct prctl_mm_map (include/uapi/linux/prctl.h, Linux 3.18): eleven addresses, auxv, its size, exe_fd. */
const MM_MAP_BYTES = 104;
const EXE_FD_OFFSET = 100;
/** Words of mm->saved_auxv; the image may hold fewer, never more (AT_VECTOR_SIZE is below this). */
const AUXV_WORDS_MAX = 128;

/**
 * PR_SET_MM_MAP. The addresses must lie in mappings that exist, and nothing of the old executable may be mapped
 * (kernel/sys.c, prctl_set_mm_exe_file). `exeFd` is an open descriptor of the executable.
 */
export function planMmMap(program: Program, mm: MmEntry, exeFd: ProgramArg): void {
  if (mm.mm_saved_auxv.length > AUXV_WORDS_MAX) {
    throw new CriuError({
      object: 'mm image',
      action: `has ${mm.mm_saved_auxv.length} words of auxv, which is too many`,
    });
  }
  const auxv = program.words(...mm.mm_saved_auxv);
  const map = program.words(
    mm.mm_start_code,
    mm.mm_end_code,
    mm.mm_start_data,
    mm.mm_end_data,
    mm.mm_start_brk,
    mm.mm_brk,
    mm.mm_start_stack,
    mm.mm_arg_start,
    mm.mm_arg_end,
    mm.mm_env_start,
    mm.mm_env_end,
    0,
    mm.mm_saved_auxv.length * 8,
  );
  program.store64(program.at(map, 88), auxv);
  program.store32(program.at(map, EXE_FD_OFFSET), exeFd);
  program.must('restore the memory layout and the exe link', SYS.prctl, PR_SET_MM, PR_SET_MM_MAP, map, MM_MAP_BYTES, 0);
}
