/** Sockets of families that cannot be checkpointed: which one it is, and what helps. */
import { SO_DOMAIN, SO_PROTOCOL, SOL_SOCKET } from '../../../linux/abi/socket.ts';
import { tryGetsockoptInt } from '../../../linux/syscalls/socket.ts';
import type { Unsupported } from '../file-kind.ts';

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

/** What to say of a socket that nobody recognises. */
export function refuseSocket(fd: number): Unsupported {
  const family = tryGetsockoptInt(fd, SOL_SOCKET, SO_DOMAIN) ?? 0;
  const protocol = tryGetsockoptInt(fd, SOL_SOCKET, SO_PROTOCOL) ?? 0;
  const name = FAMILIES[family] ?? `family ${family}, protocol ${protocol}`;
  return {
    unsupported: `sockets of ${name} are not supported`,
    remedy: REMEDIES[family] ?? 'let the program close it before the dump',
  };
}
