/** Working directory, root directory and umask of a task (fs_struct): what fs-PID.img has. */
import type { Program } from '../../agent/program.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { FilesPlan } from '../../restore/context.ts';
import type { RestoreTask, RestoreTree } from '../../restore/restore-tree.ts';

/**
 * Plans root, working directory and umask. To be done after everything that opens files by path. Needs CAP_SYS_CHROOT
 * when the root is another one than that of criu.
 */
export function planFilesystem(program: Program, task: RestoreTask, files: FilesPlan, tree: RestoreTree): void {
  const { cwd_id, root_id, umask } = task.fs;
  const cwd = files.openForMapping(program, task.pid, cwd_id, 0);
  const root = tree.files.get(root_id)?.reg;
  if (root !== undefined && root.name !== '/') {
    const fd = files.openForMapping(program, task.pid, root_id, 0);
    program.must(`go to ${root.name}`, SYS.fchdir, fd);
    program.must(`change the root to ${root.name}`, SYS.chroot, program.string('.'));
    program.must('close the root directory', SYS.close, fd);
  }
  program.must('set the working directory', SYS.fchdir, cwd);
  program.must('close the working directory', SYS.close, cwd);
  if (umask !== undefined) program.must('set the umask', SYS.umask, umask);
}
