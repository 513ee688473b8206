/** What the dynamic linker has done in a process: read from the memory of that process, whose files may not be mapped. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { ELF_64, PT_DYNAMIC } from '../../src/linux/abi/elf.ts';

/**
 * The objects that the dynamic linker has loaded into a process (struct r_debug, struct link_map in link.h). One is lazy when
 * the second reserved word of its table of functions is set: then the linker is called for functions that were never called
 * (elf_machine_runtime_setup in glibc's sysdeps/x86_64/dl-machine.h).
 */
export function readLinkMap(pid: number, executable: string): { name: string; isLazy: boolean }[] {
  const fd = openSync(`/proc/${pid}/mem`, 'r');
  const read = (address: number, bytes: number) => {
    const data = new Uint8Array(bytes);
    readSync(fd, data, 0, bytes, address);
    return data;
  };
  const word = (address: number) => Number(new DataView(read(address, 8).buffer).getBigUint64(0, true));
  const dynamicEntry = (dynamic: number, tag: number): number | undefined => {
    for (let at = dynamic; word(at) !== 0; at += 16) if (word(at) === tag) return word(at + 8);
    return undefined;
  };
  const text = (address: number) => Buffer.from(read(address, 256)).toString('latin1').split('\0', 1).join();
  const [DT_PLTGOT, DT_DEBUG] = [3, 21];
  const file = new DataView(readFileSync(executable).buffer);
  const dynamic = originalSegment(file, PT_DYNAMIC);
  const found: { name: string; isLazy: boolean }[] = [];
  for (let at = word((dynamicEntry(dynamic, DT_DEBUG) ?? 0) + 8); at !== 0; at = word(at + 24)) {
    const table = dynamicEntry(word(at + 16), DT_PLTGOT);
    found.push({ name: text(word(at + 8)), isLazy: table !== undefined && word(table + 8) !== 0 });
  }
  closeSync(fd);
  return found;
}

/** Address of a segment by the program headers that the executable had before it got an image; they follow its header. */
function originalSegment(file: DataView, type: number): number {
  const { header, segment } = ELF_64;
  let at = header.bytes;
  while (file.getUint32(at + segment.p_type, true) !== type) at += segment.bytes;
  return Number(file.getBigUint64(at + segment.p_vaddr, true));
}
