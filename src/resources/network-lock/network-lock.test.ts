/** What is locked: both directions of each connection, once. */
import { describe, expect, test } from 'bun:test';
import { ERRNO } from '../../linux/abi/errno.ts';
import { AF_INET, AF_INET6 } from '../../linux/abi/socket.ts';
import { describeUnlock } from './iptables.ts';
import { describeConnections, describeTable, lockStays, shortRunId, tableName } from './network-lock.ts';

const LOCAL = 0x0100_007f;
const OTHER = 0x0200_007f;
const v4 = { family: AF_INET, src_port: 80, dst_port: 0x1234, src_addr: [LOCAL], dst_addr: [OTHER] };
const mapped = { ...v4, family: AF_INET6, src_addr: [0, 0, 0xffff_0000, LOCAL], dst_addr: [0, 0, 0xffff_0000, OTHER] };
const v6 = { ...v4, family: AF_INET6, src_addr: [0, 0, 0, 1], dst_addr: [0, 0, 0, 2] };

const hex = (messages: readonly Uint8Array[]) => messages.map((message) => Buffer.from(message).toString('hex'));
const count = (text: string, part: string) => text.split(part).length - 1;

describe('the lock', () => {
  const there = '7f000001005000007f00000212340000';
  const back = '7f000002123400007f00000100500000';

  test('has both directions', () => {
    const [message = ''] = hex(describeConnections('T', [v4]));
    expect(count(message, there)).toBe(1);
    expect(count(message, back)).toBe(1);
  });

  test('has a connection once, though both ends are in the tree, and one is an IPv6 socket', () => {
    const other = { ...mapped, src_port: 0x1234, dst_port: 80, src_addr: mapped.dst_addr, dst_addr: mapped.src_addr };
    const messages = hex(describeConnections('T', [v4, other]));
    expect(messages.length).toBe(1);
    expect(count(messages[0] ?? '', there)).toBe(1);
  });

  test('has a set for IPv6', () => {
    expect(describeConnections('T', [v4, v6]).length).toBe(2);
  });

  test('has messages of a length that an attribute can have', () => {
    const many = Array.from({ length: 3000 }, (_, i) => ({ ...v6, dst_port: i }));
    const messages = describeConnections('T', many);
    expect(messages.length).toBe(6);
    expect(Math.max(...messages.map(({ length }) => length))).toBeLessThan(0x10000);
  });

  test('has the name that CRIU gives it, which is cut off', () => {
    expect(tableName('abf148ff-738f-4b2c-aa59-6edbb8207255')).toBe('CRIU-abf148ff-738f-4b2c-aa');
    const short = shortRunId('abf148ff-738f-4b2c-aa59-6edbb8207255\n');
    expect(tableName(short)).toBe(`CRIU-${short}`);
  });

  test('is a table with two sets, and two chains of three rules', () => {
    expect(describeTable('T', 2).length).toBe(1 + 2 + 2 * 4);
  });
});

test('rules of iptables that CRIU has made are taken away', () => {
  expect(describeUnlock([])).toEqual({});
  expect(describeUnlock([mapped]).v4?.split('\n')).toEqual([
    '*filter',
    '-D INPUT -p tcp -m mark ! --mark 49428 -s 127.0.0.2 --sport 4660 -d 127.0.0.1 --dport 80 -j DROP',
    '-D OUTPUT -p tcp -m mark ! --mark 49428 -s 127.0.0.1 --sport 80 -d 127.0.0.2 --dport 4660 -j DROP',
    'COMMIT',
    '',
  ]);
  expect(describeUnlock([v6]).v6).toContain('-s ::200:0 --sport 4660 -d ::100:0 --dport 80');
});

test('a lock that stays says so, and names a capability where that is what is missing', () => {
  const text = 'the network lock of the dump (inet CRIU-x): cannot be taken away (nf_tables: ';
  expect(lockStays('x', ERRNO.EPERM).message).toBe(`${text}EPERM); restore with CAP_NET_ADMIN`);
  expect(lockStays('x', ERRNO.EMFILE).message).toBe(`${text}EMFILE)`);
});
