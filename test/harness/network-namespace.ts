/** A network namespace for one test: what is started in it, criu too, has nothing to do with the machine's network. */
import { existsSync, writeFileSync } from 'node:fs';
import { CLONE_NEWNET } from '../../src/linux/abi/sched.ts';
import { AF_INET, SOCK_DGRAM } from '../../src/linux/abi/socket.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { check, syscall } from '../../src/linux/kernel.ts';
import { close, ioctl, open } from '../../src/linux/syscalls/fs.ts';
import * as NFT from '../../src/netlink/nf-tables.ts';
import { cleanUp } from './harness.ts';

/** Runs `body` with the main thread, whose children inherit it, in a new network namespace. */
export async function inNetworkNamespace<T>(body: () => Promise<T>): Promise<T> {
  const home = open('/proc/self/ns/net', 0);
  check('unshare', syscall(SYS.unshare, CLONE_NEWNET), 'CLONE_NEWNET');
  try {
    return await body();
  } finally {
    check('setns', syscall(SYS.setns, home, CLONE_NEWNET), 'back');
    close(home);
  }
}

const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;

/** Lets programs of the namespace talk to each other. */
export function raiseLoopback(): void {
  const request = new Uint8Array(40);
  request.set(Buffer.from('lo'));
  request[16] = IFF_UP;
  const fd = check('socket', syscall(SYS.socket, AF_INET, SOCK_DGRAM, 0), 'AF_INET');
  check('ioctl', ioctl(fd, SIOCSIFFLAGS, request), 'SIOCSIFFLAGS');
  close(fd);
}

/**
 * A network namespace with loopback in which everybody may make ping sockets; new devices get no addresses of IPv6, and send
 * nothing by themselves. What was started in it ends before it does.
 */
export function inQuietNamespace(body: () => Promise<void>): Promise<void> {
  return inNetworkNamespace(async () => {
    raiseLoopback();
    writeFileSync('/proc/sys/net/ipv4/ping_group_range', '0 2147483647');
    if (existsSync('/proc/sys/net/ipv6')) writeFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', '1');
    await body();
    await cleanUp();
  });
}

/** Has the namespace drop all packets of a protocol that arrive. */
export function dropPackets(protocol: number): void {
  const tables = NFT.NfTables.tryOpen();
  if (typeof tables === 'number') throw new Error('the kernel has no netfilter');
  const drop = [
    NFT.loadMeta(NFT.NFT_META_L4PROTO, NFT.NFT_REG32_00),
    NFT.mustEqual(NFT.NFT_REG32_00, Uint8Array.of(protocol)),
    NFT.verdict('drop'),
  ];
  const messages = [
    NFT.newTable('test', 0),
    NFT.newFilterChain('test', 'in', NFT.NF_INET_LOCAL_IN),
    NFT.newRule('test', 'in', drop),
  ];
  check('nf_tables', tables.tryCommit(messages));
  tables.close();
}
