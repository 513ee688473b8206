/** Files that no kind recognises: what they are, for the error, and what helps. */
import type { CriuErrorFields } from '../../../base/errors.ts';
import { S_IFCHR, S_IFMT, S_IFSOCK } from '../../../linux/abi/fcntl.ts';
import { SO_DOMAIN, SO_PROTOCOL, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { tryGetsockoptInt } from '../../../linux/syscalls/socket.ts';
import type { OpenFile } from '../file-kind.ts';

const CLOSE_IT = 'let the program close it before the dump';

/** Families of sockets by number (linux/socket.h). */
const FAMILIES: Readonly<Record<number, string>> = {
  3: 'AX.25',
  4: 'IPX',
  5: 'AppleTalk',
  9: 'X.25',
  15: 'PF_KEY (AF_KEY)',
  21: 'RDS',
  24: 'PPPoE and L2TP (AF_PPPOX)',
  26: 'LLC',
  27: 'InfiniBand (AF_IB)',
  28: 'MPLS',
  29: 'CAN',
  30: 'TIPC',
  31: 'Bluetooth',
  33: 'RxRPC',
  35: 'Phonet',
  36: 'IEEE 802.15.4',
  37: 'CAIF',
  38: 'the kernel crypto API (AF_ALG)',
  39: 'NFC',
  40: 'virtual machines (AF_VSOCK)',
  41: 'the kernel connection multiplexer (AF_KCM)',
  42: 'Qualcomm IPC (AF_QIPCRTR)',
  43: 'shared memory communications (AF_SMC)',
  44: 'express data path (AF_XDP)',
  45: 'MCTP',
};

/** Families for which there is something better than closing. */
const REMEDIES: Readonly<Record<number, string>> = {
  38: 'make the program use cryptography of its own (OpenSSL: no afalg engine)',
  43: 'start it without smc_run, or with sysctl net.smc.tcp2smc=0',
};

/** What to say of a file that nobody recognises. */
export function unknownKind(file: OpenFile): CriuErrorFields {
  const action = 'cannot be dumped';
  const { object } = file;
  switch (file.stat.st_mode & S_IFMT) {
    case S_IFSOCK:
      return { object, action, ...describeSocket(file.localFd) };
    case S_IFCHR:
      return { object, action, why: 'devices and terminals of this kind are not supported yet' };
    default: {
      const { link } = file;
      const what = link.startsWith('anon_inode:') ? `kind ${link.slice('anon_inode:'.length)}` : 'this kind';
      const remedy = ANONYMOUS[link];
      const fields = { object, action, why: `files of ${what} are not supported${remedy === undefined ? ' yet' : ''}` };
      return remedy === undefined ? fields : { ...fields, remedy };
    }
  }
}

function describeSocket(fd: number): { why: string; remedy: string } {
  const family = tryGetsockoptInt(fd, SOL_SOCKET, SO_DOMAIN) ?? 0;
  const protocol = tryGetsockoptInt(fd, SOL_SOCKET, SO_PROTOCOL) ?? 0;
  const name = FAMILIES[family] ?? `family ${family}, protocol ${protocol}`;
  return { why: `sockets of ${name} are not supported`, remedy: REMEDIES[family] ?? CLOSE_IT };
}

/** What cannot be kept at all. */
const ANONYMOUS: Readonly<Record<string, string>> = {
  'anon_inode:[io_uring]': 'disable io_uring in the program, or set sysctl kernel.io_uring_disabled=2 before it starts',
  'anon_inode:[userfaultfd]': CLOSE_IT,
  'anon_inode:[perf_event]': CLOSE_IT,
  'anon_inode:[fscontext]': CLOSE_IT,
};
