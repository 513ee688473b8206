/** bpf(2): commands, map types and flags, offsets in union bpf_attr and struct bpf_map_info. Values: linux/bpf.h. */

/* Commands. */
export const BPF_MAP_CREATE = 0;
export const BPF_MAP_LOOKUP_ELEM = 1;
export const BPF_PROG_LOAD = 5;
export const BPF_PROG_TEST_RUN = 10;
export const BPF_MAP_GET_FD_BY_ID = 14;
export const BPF_OBJ_GET_INFO_BY_FD = 15;
export const BPF_RAW_TRACEPOINT_OPEN = 17;
export const BPF_MAP_FREEZE = 22;
export const BPF_MAP_LOOKUP_BATCH = 24;
export const BPF_MAP_UPDATE_BATCH = 26;
export const BPF_LINK_CREATE = 28;
export const BPF_ITER_CREATE = 33;

/* Types of programs, and what they are attached to. */
export const BPF_PROG_TYPE_RAW_TRACEPOINT = 17;
export const BPF_PROG_TYPE_TRACING = 26;
export const BPF_PROG_TYPE_SYSCALL = 31;
export const BPF_TRACE_ITER = 28;

/* prog_flags. */
export const BPF_F_SLEEPABLE = 16;

/* Helpers that programs call (man 7 bpf-helpers). */
export const BPF_FUNC_map_lookup_elem = 1;
export const BPF_FUNC_get_current_task = 35;
export const BPF_FUNC_probe_read_kernel = 113;
export const BPF_FUNC_seq_write = 127;
export const BPF_FUNC_d_path = 147;
export const BPF_FUNC_btf_find_by_name_kind = 167;

/* Kinds of types (linux/btf.h). */
export const BTF_KIND_FUNC = 12;

/* Types of maps whose content can be read and written as pairs. */
export const BPF_MAP_TYPE_HASH = 1;
export const BPF_MAP_TYPE_ARRAY = 2;
export const BPF_MAP_TYPE_PERCPU_HASH = 5;
export const BPF_MAP_TYPE_PERCPU_ARRAY = 6;
export const BPF_MAP_TYPE_LRU_HASH = 9;
export const BPF_MAP_TYPE_LRU_PERCPU_HASH = 10;
export const BPF_MAP_TYPE_LPM_TRIE = 11;

/* Flags of BPF_MAP_CREATE and open_flags. */
export const BPF_F_RDONLY = 8;
export const BPF_F_WRONLY = 16;
/** In map_flags: user space may map the values (Linux 5.5). */
export const BPF_F_MMAPABLE = 1024;

export const BPF_OBJ_NAME_LEN = 16;

/** BPF_MAP_CREATE. */
export const BPF_ATTR_CREATE = {
  bytes: 72,
  map_type: 0,
  key_size: 4,
  value_size: 8,
  max_entries: 12,
  map_flags: 16,
  map_name: 28,
  map_ifindex: 44,
  map_extra: 64,
} as const;

/** BPF_MAP_*_BATCH. */
export const BPF_ATTR_BATCH = {
  bytes: 56,
  in_batch: 0,
  out_batch: 8,
  keys: 16,
  values: 24,
  count: 32,
  map_fd: 36,
} as const;

/** BPF_OBJ_GET_INFO_BY_FD. */
export const BPF_ATTR_INFO = { bytes: 16, bpf_fd: 0, info_len: 4, info: 8 } as const;

/** BPF_MAP_GET_FD_BY_ID. */
export const BPF_ATTR_ID = { bytes: 12, id: 0, open_flags: 8 } as const;

/** struct bpf_map_info. */
export const BPF_MAP_INFO = { bytes: 88, id: 4, name: 24, ifindex: 40, btf_id: 64 } as const;
