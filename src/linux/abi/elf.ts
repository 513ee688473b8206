/**
 * Files of programs and libraries: elf(5). Values and layouts: linux/elf.h, linux/elf-em.h.
 */

/** The first word of a file: 0x7f, then ELF in letters. */
export const ELF_MAGIC = 0x464c_457f;
/** The first bytes of a file after its magic and class: lowest byte first, version 1. */
export const ELFDATA2LSB = 1;
export const EV_CURRENT = 1;

/* Class, the fifth byte. */
export const ELFCLASS32 = 1;
export const ELFCLASS64 = 2;

/* e_type, e_machine. */
export const ET_EXEC = 2;
export const EM_386 = 3;
export const EM_X86_64 = 62;

/* p_type. */
export const PT_LOAD = 1;
export const PT_DYNAMIC = 2;
export const PT_NOTE = 4;
export const PT_PHDR = 6;
export const PT_GNU_STACK = 0x6474_e551;

/* p_flags. */
export const PF_X = 1;
export const PF_W = 2;
export const PF_R = 4;

/* Tags of the dynamic section, and the type of a note. */
export const DT_STRTAB = 5;
export const DT_SYMTAB = 6;
export const NT_GNU_BUILD_ID = 3;

/** Offsets in bytes of fields of the file's header, of a program header and of a symbol, in files of 64 bits. */
export const ELF_64 = {
  header: { bytes: 64, e_type: 16, e_machine: 18, e_version: 20, e_entry: 24, e_phoff: 32, e_ehsize: 52, e_phentsize: 54, e_phnum: 56 },
  segment: { bytes: 56, p_type: 0, p_flags: 4, p_offset: 8, p_vaddr: 16, p_paddr: 24, p_filesz: 32, p_memsz: 40, p_align: 48 },
  symbol: { bytes: 24, st_name: 0, st_value: 8, st_shndx: 6 },
} as const; // biome-ignore format: a table

/** The same in files of 32 bits. */
export const ELF_32 = {
  header: { bytes: 52, e_type: 16, e_machine: 18, e_version: 20, e_entry: 24, e_phoff: 28, e_ehsize: 40, e_phentsize: 42, e_phnum: 44 },
  segment: { bytes: 32, p_type: 0, p_flags: 24, p_offset: 4, p_vaddr: 8, p_paddr: 12, p_filesz: 16, p_memsz: 20, p_align: 28 },
  symbol: { bytes: 16, st_name: 0, st_value: 4, st_shndx: 14 },
} as const; // biome-ignore format: a table
