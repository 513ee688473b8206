/** Programs for bpf(2): commands, types, helpers. Values: linux/bpf.h. */
export const BPF_MAP_CREATE = 0;
export const BPF_MAP_LOOKUP_ELEM = 1;
export const BPF_PROG_LOAD = 5;
export const BPF_RAW_TRACEPOINT_OPEN = 17;

export const BPF_MAP_TYPE_ARRAY = 2;
export const BPF_PROG_TYPE_RAW_TRACEPOINT = 17;

/* Helpers (man 7 bpf-helpers). */
export const BPF_FUNC_map_lookup_elem = 1;
export const BPF_FUNC_get_current_task = 35;
export const BPF_FUNC_probe_read_kernel = 113;
