import { expect, test } from 'bun:test';
import type { Stat } from '../../../linux/syscalls/fs.ts';
import { refuseUnknown } from './unknown-kind.ts';

const say = (link: string, st_mode = 0o600) => refuseUnknown({ link, localFd: -1, stat: { st_mode } as Stat });

test('what is known has a reason and a remedy', () => {
  expect(say('anon_inode:[userfaultfd]')).toEqual({
    unsupported: 'another part of the program serves page faults through it (userfaultfd)',
    remedy: 'end what uses it before the dump',
  });
  expect(say('anon_inode:kvm-vm').remedy).toBe(say('/dev/kvm', 0o20600).remedy);
});

test('what nobody has thought of is called what the kernel calls it', () => {
  expect(say('anon_inode:[new]')).toEqual({ unsupported: 'files of kind [new] are not supported yet' });
  expect(say('dmabuf:')).toEqual({ unsupported: 'files of kind dmabuf: are not supported yet' });
  expect(say('socket:[1]', 0o140600)).toEqual({
    unsupported: 'sockets of family 0, protocol 0 are not supported',
    remedy: 'let the program close it before the dump',
  });
  expect(say('/dev/rfkill', 0o20600)).toEqual({
    unsupported: 'devices like /dev/rfkill are not supported, for their state cannot be seen',
  });
});
