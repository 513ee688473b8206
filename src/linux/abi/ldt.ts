/** Segments of 32-bit code: struct user_desc (asm/ldt.h), and where the entries of a thread are (asm/segment.h). */

/** Offsets of its fields. The bits are: seg_32bit, contents (2), read_exec_only, limit_in_pages, seg_not_present, useable. */
export const USER_DESC = { entry_number: 0, base_addr: 4, limit: 8, bits: 12 } as const;
export const USER_DESC_BYTES = 16;

export const GDT_ENTRY_TLS_MIN = 12;
export const GDT_ENTRY_TLS_ENTRIES = 3;
