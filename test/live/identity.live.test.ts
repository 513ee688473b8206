/** Who a task is and what it may do: credentials, seccomp, limits, folders, small properties. */
import { liveTest } from '../harness/live-test.ts';

liveTest('credentials of threads and processes survive', 'creds');
liveTest('seccomp strict mode survives', 'seccomp-strict');
liveTest('seccomp filters survive on the right threads', 'seccomp-filter');
liveTest('resource limits survive', 'limits');
liveTest('umask, working directory and root survive', 'fs-state');
liveTest('a deleted working directory survives', 'fs-state', { args: ['deleted'] });
liveTest('scheduling, oom score, death signal, dumpable and others survive', 'task-state');
liveTest('personality, I/O priority, core dump filter and MDWE survive', 'task-state', { args: ['extra'] });
