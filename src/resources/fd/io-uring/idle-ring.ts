/**
 * Whether an io_uring does nothing, and has nothing but its memory. No interface tells: a timeout that runs, a registered
 * eventfd, restrictions, rings of buffers and the flags of io_uring_setup(2) are not in fdinfo (io_uring/fdinfo.c), so that
 * of a ring with a timeout is the same as that of an idle one. So struct io_ring_ctx is read from the kernel's memory.
 *
 * The proof: the kernel counts the requests that it has allocated (nr_req_allocated, since Linux 6.16), and keeps those that
 * are free in a list; when all are in the list, none is under way. Nobody can submit another one while the tree stands
 * still, and only tasks of the tree have used the ring. What may be registered is looked at member by member, and a
 * member that is not known here may be anything, so a kernel that has one is refused.
 */
import type { FrozenTask } from '../../../dump/frozen-tree.ts';
import * as URING from '../../../linux/abi/io-uring.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { CLOCK_MONOTONIC } from '../../../linux/abi/time.ts';
import { possibleCpus } from '../../../linux/cpus.ts';
import { syscall } from '../../../linux/kernel.ts';
import type { KernelObjects } from '../../../linux/kernel-objects.ts';
import type { KernelTypes, MemberPath } from '../../../linux/kernel-types.ts';
import { close, readProc } from '../../../linux/syscalls/fs.ts';

/** What a ring without requests is made again from. */
export interface IdleRing {
  readonly setupFlags: number;
  readonly sqEntries: number;
  readonly cqEntries: number;
  /** What the kernel counts by itself. */
  readonly sqHead: number;
  readonly cqTail: number;
  readonly ringPages: number;
  readonly sqePages: number;
  /** The program has asked for requests without completions, and so can't ask for those that wait for all others. */
  readonly hasSkipped: boolean;
  /** The thread that alone may use it. */
  readonly submitter: number | undefined;
  /** What speaks against dumping it. */
  readonly problems: readonly string[];
}

/** Setup flags that a ring made again may have. */
const FLAGS_KEPT =
  URING.IORING_SETUP_CQSIZE |
  URING.IORING_SETUP_CLAMP |
  URING.IORING_SETUP_SUBMIT_ALL |
  URING.IORING_SETUP_COOP_TASKRUN |
  URING.IORING_SETUP_TASKRUN_FLAG |
  URING.IORING_SETUP_SQE128 |
  URING.IORING_SETUP_CQE32 |
  URING.IORING_SETUP_SINGLE_ISSUER |
  URING.IORING_SETUP_DEFER_TASKRUN |
  URING.IORING_SETUP_NO_SQARRAY;

export const areFlagsKept = (flags: number): boolean => (flags & ~FLAGS_KEPT) === 0;

const POLLS_DEVICES = 'it polls network devices (NAPI)';

/** Words (u64) of a member that are 0 in a ring without it, and what it is. */
const WORDS: readonly [member: string, offset: MemberPath | undefined, what: string][] = [
  ['io_bl_xa', 'xarray.xa_head', 'it has rings of buffers'],
  ['zcrx_ctxs', 'xarray.xa_head', 'it receives without copying (zcrx)'],
  ['personalities', 'xarray.xa_head', 'it has credentials of its own (personalities)'],
  ['io_ev_fd', undefined, 'an eventfd is told of its completions'],
  ['cq_wait_arg', undefined, 'memory for the arguments of waiting is registered'],
  ['work_llist', undefined, 'completions wait for the task'],
  ['retry_llist', undefined, 'completions wait for the task'],
  ['fallback_llist', undefined, 'completions wait for the task'],
  ['check_cq', undefined, 'completions did not fit into its queue'],
  ['napi_busy_poll_dt', undefined, POLLS_DEVICES],
  ['sq_data', undefined, 'a thread of the kernel polls its queue'],
];

/** The same for u32. */
const COUNTS: readonly [member: string, offsets: readonly MemberPath[], what: string][] = [
  ['file_table', ['io_file_table.data', 'io_rsrc_data.nr'], 'files are registered'],
  ['buf_table', ['io_rsrc_data.nr'], 'buffers are registered'],
  ['param_region', ['io_mapped_region.nr_pages'], 'a region of memory is registered'],
  ['clock_offset', [], 'it waits by another clock than the usual one'],
];

const BITS: readonly [member: string, what: string][] = [
  ['restricted', 'what may be asked of it is restricted'],
  ['drain_active', 'requests wait until all others are complete'],
  ['drain_next', 'requests wait until all others are complete'],
  ['has_evfd', 'an eventfd is told of its completions'],
  ['compat', 'a 32-bit program has made it'],
  ['iowq_limits_set', 'the number of its workers is limited'],
];

/** Lists (struct list_head) that are empty. */
const LISTS: readonly [member: string, what: string][] = [
  ['cq_overflow_list', 'completions did not fit into its queue'],
  ['defer_list', 'requests wait until all others are complete'],
  ['napi_list', POLLS_DEVICES],
];

/** Members that are looked at otherwise, follow from others, or mean nothing when there are no requests. */
const OTHERS =
  'flags off_timeout_used task_complete lockless_cq syscall_iopoll poll_activated drain_disabled submitter_task rings refs ' +
  'clockid notify_method sq_thread_idle uring_lock sq_array sq_sqes cached_sq_head sq_entries cancel_seq poll_multi_queue ' +
  'iopoll_list node_cache imu_cache submit_state cancel_table apoll_cache netmsg_cache rw_cache cmd_cache ' +
  'cancelable_uring_cmd hybrid_poll_time cqe_cached cqe_sentinel cached_cq_tail cq_entries cq_wait_size rings_rcu cq_wait_nr ' +
  'cq_timeouts cq_wait timeout_lock timeout_list ltimeout_list cq_last_tm_flush completion_lock waitid_list futex_list ' +
  'futex_cache sq_creds sqo_sq_wait sqd_list file_alloc_start file_alloc_end poll_wq restrictions pers_next hash_map user ' +
  'mm_account fallback_work exit_work tctx_list ref_comp iowq_limits poll_wq_task_work nr_drained nr_req_allocated napi_lock ' +
  'napi_prefer_busy_poll napi_track_mode napi_ht mmap_lock sq_region ring_region';

/** The same of struct io_uring_task, what a thread has that uses rings. */
const OF_TASK =
  'cached_refs last task io_wq registered_rings xa wait in_cancel inflight_tracked inflight task_list task_work';

/** Reads the ring behind a descriptor of ours. Throws CriuError when the kernel has it otherwise than is known. */
export function inspectRing(objects: KernelObjects, localFd: number, tasks: readonly FrozenTask[]): IdleRing {
  const ring = objects.word(objects.ownFile(localFd), 'file.private_data');
  const at = (member: string): MemberPath => `io_ring_ctx.${member}`;
  const u32 = (member: string) => objects.u32(ring, at(member));
  const pages = (member: string) => objects.u32(objects.member(ring, at(member)), 'io_mapped_region.nr_pages');
  const submitter = objects.word(ring, at('submitter_task'));
  return {
    setupFlags: u32('flags'),
    sqEntries: u32('sq_entries'),
    cqEntries: u32('cq_entries'),
    sqHead: u32('cached_sq_head'),
    cqTail: u32('cached_cq_tail'),
    ringPages: pages('ring_region'),
    sqePages: pages('sq_region'),
    hasSkipped: bit(objects, ring, 'drain_disabled'),
    submitter: submitter === 0n ? undefined : objects.pidNumber(objects.word(submitter, 'task_struct.thread_pid')),
    problems: [...new Set([...findUses(objects, ring), ...findPolling(localFd), ...findUsers(objects, ring, tasks)])],
  };
}

/** A bit field, which has its place in bits. */
function bit(objects: KernelObjects, ring: bigint, member: string): boolean {
  const offset = objects.types.offset(`io_ring_ctx.${member}`);
  const word = objects.memory.read(ring + BigInt(Math.floor(offset)), 1).getUint8(0);
  return ((word >> ((offset % 1) * 8)) & 1) !== 0;
}

/** Members of the kernel's structures that may be anything. */
export function findUnknown(types: Pick<KernelTypes, 'members'>): string[] {
  const known = new Set([...WORDS, ...COUNTS, ...BITS, ...LISTS].map(([member]) => member).concat(OTHERS.split(' ')));
  const ofTask = new Set(OF_TASK.split(' '));
  return [
    ...types.members('io_ring_ctx').filter((name) => !known.has(name)),
    ...types.members('io_uring_task').filter((name) => !ofTask.has(name)),
    ...types.members('task_struct').filter((name) => name.startsWith('io_uring_')),
  ];
}

function findUses(objects: KernelObjects, ring: bigint): string[] {
  const { types } = objects;
  const problems: string[] = [];
  const unknown = findUnknown(types);
  if (unknown.length > 0) problems.push(`this kernel keeps more of a ring than criu knows (${unknown.join(', ')})`);
  const has = (member: string) => types.has(`io_ring_ctx.${member}`);
  const address = (member: string, inner: readonly MemberPath[]) =>
    inner.reduce((sum, path) => sum + BigInt(types.offset(path)), objects.member(ring, `io_ring_ctx.${member}`));
  for (const [member, inner, what] of WORDS) {
    const isUsed = has(member) && read64(objects, address(member, inner === undefined ? [] : [inner])) !== 0n;
    if (isUsed) problems.push(what);
  }
  for (const [member, inner, what] of COUNTS) {
    if (has(member) && objects.memory.read(address(member, inner), 4).getUint32(0, true) !== 0) problems.push(what);
  }
  for (const [member, what] of BITS) if (has(member) && bit(objects, ring, member)) problems.push(what);
  for (const [member, what] of LISTS) {
    if (has(member) && read64(objects, address(member, [])) !== address(member, [])) problems.push(what);
  }
  const clock = objects.u32(ring, 'io_ring_ctx.clockid');
  if (clock !== CLOCK_MONOTONIC) problems.push('it waits by another clock than the usual one');
  const flags = objects.u32(ring, 'io_ring_ctx.flags');
  if (!areFlagsKept(flags))
    problems.push(`it was made with flags 0x${flags.toString(16)}, of which criu can keep only some`);
  const requests = countRequests(objects, ring);
  if (requests > 0) problems.push(`${requests} of its requests are under way`);
  return problems;
}

/** One of the few things that fdinfo tells (io_uring/fdinfo.c napi_show_fdinfo()). */
function findPolling(localFd: number): string[] {
  return /^NAPI:\s*enabled/m.test(readProc(`/proc/self/fdinfo/${localFd}`)) ? [POLLS_DEVICES] : [];
}

const read64 = (objects: KernelObjects, address: bigint) => objects.memory.read(address, 8).getBigUint64(0, true);

/** Those that are allocated and not free. */
function countRequests(objects: KernelObjects, ring: bigint): number {
  const allocated = objects.u32(ring, 'io_ring_ctx.nr_req_allocated');
  const list =
    objects.member(ring, 'io_ring_ctx.submit_state') + BigInt(objects.types.offset('io_submit_state.free_list'));
  let free = 0;
  for (let at = read64(objects, list); at !== 0n && free <= allocated; at = read64(objects, at)) free++;
  return Math.abs(allocated - free);
}

/** What the tasks that have used it have besides, and those that are not of the tree. */
function findUsers(objects: KernelObjects, ring: bigint, tasks: readonly FrozenTask[]): string[] {
  const { types } = objects;
  const problems: string[] = [];
  const nodeOffset = BigInt(types.offset('io_tctx_node.ctx_node'));
  const threads = new Set(tasks.flatMap((task) => task.threads.map(({ tid }) => tid)));
  for (const entry of objects.list(objects.member(ring, 'io_ring_ctx.tctx_list'))) {
    const user = objects.word(entry - nodeOffset, 'io_tctx_node.task');
    const tid = objects.pidNumber(objects.word(user, 'task_struct.thread_pid'));
    if (!threads.has(tid)) {
      problems.push(`thread ${tid} outside of the tree has used it`);
      continue;
    }
    const own = objects.word(user, 'task_struct.io_uring');
    const registered = objects.member(own, 'io_uring_task.registered_rings');
    const bytes = types.end('io_uring_task.registered_rings') - types.offset('io_uring_task.registered_rings');
    if (objects.copy(registered, bytes).some((byte) => byte !== 0)) problems.push('its descriptor is registered');
    if (read64(objects, objects.member(own, 'io_uring_task.task_list')) !== 0n)
      problems.push('completions wait for the task');
    if (!haveSameCpus(objects, own)) problems.push('its workers have CPUs of their own');
  }
  return problems;
}

/** Whether workers of a task (struct io_uring_task) may run where those of a new ring may. */
function haveSameCpus(objects: KernelObjects, user: bigint): boolean {
  const params = new Uint8Array(URING.PARAMS_BYTES);
  const fd = syscall(SYS.io_uring_setup, 1, params);
  try {
    const own = fd < 0 ? 0n : objects.word(objects.ownTask, 'task_struct.io_uring');
    return own !== 0n && workerCpus(objects, user) === workerCpus(objects, own);
  } finally {
    if (fd >= 0) close(fd);
  }
}

function workerCpus(objects: KernelObjects, user: bigint): string {
  const { types } = objects;
  const workers = objects.word(user, 'io_uring_task.io_wq');
  const mask = objects.member(workers, 'io_wq.cpu_mask');
  const room = types.end('io_wq.cpu_mask') - types.offset('io_wq.cpu_mask');
  // A mask for many CPUs is somewhere else (CONFIG_CPUMASK_OFFSTACK).
  const isThere = types.size('cpumask') <= room;
  const bytes = Math.ceil(possibleCpus() / 64) * 8;
  return objects.copy(isThere ? mask : read64(objects, mask), bytes).join(' ');
}
