/** Values of task_core_entry.task_state, a part of the image format (criu/include/crtools.h). */
export const TASK_ALIVE = 0x1;
export const TASK_DEAD = 0x2;
export const TASK_STOPPED = 0x3;
export const TASK_ZOMBIE = 0x6;
