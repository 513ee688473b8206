import { describe, expect, test } from 'bun:test';
import { BytesReader } from '../image/image-reader.ts';
import { explore } from './explore.ts';
import { mm, sampleImages } from './image-files.test-support.ts';
import { ImageFolder } from './image-folder.ts';
import { drawTree } from './tree.ts';

describe('the tree', () => {
  test('shows tasks with memory and files', () => {
    expect(drawTree(new ImageFolder(sampleImages()), { showsAll: false })).toEqual([
      '3 processes, 3 threads, 12 KiB of private memory saved, 7 open files',
      '',
      '10 server, leads its session',
      '| program  /bin/<script>alert(1)</script>',
      '| folder   /home, root /home',
      '| threads  11 worker',
      '| memory   4.4 MiB in 5 mappings, 12 KiB saved',
      '|           4.0 MiB --- [private]',
      '|           400 KiB rw- [private], 8.0 KiB saved',
      '|            32 KiB rw- [shared memory 77]',
      '|            16 KiB r-x /bin/<script>alert(1)</script>',
      '|           8.0 KiB rw- [heap], 4.0 KiB saved',
      '| files      1  /var/log/it\x1b[31m (write, append, position 12, closes on exec)',
      '|            3  pipe 900 (read, 3 B waiting, closes on exec)',
      '|            4  TCP socket 127.0.0.1:80 (LISTEN, backlog 5)',
      '|',
      '+-12 child, session 10, leads its group',
      '  | program  /bin/<script>alert(1)</script>',
      '  | folder   /home, root /home',
      '  | memory   4.4 MiB in 5 mappings, 0 B saved',
      '  |           4.0 MiB --- [private]',
      '  |           400 KiB rw- [private]',
      '  |            32 KiB rw- [shared memory 77]',
      '  |            16 KiB r-x /bin/<script>alert(1)</script>',
      '  |           8.0 KiB rw- [heap]',
      '  | files      1  /var/log/it\x1b[31m (write, append, position 12, closes on exec)',
      '  |            5  pipe 900 (write, 3 B waiting, closes on exec)',
      '  |            6  UNIX stream socket @abstract& (to inode 71)',
      '  |',
      '  +-13 gone, dead, session 10, group 12',
    ]);
  });

  test('shows how a program was started, when that page was saved', () => {
    const images = sampleImages();
    images.put('mm', 10, [mm({ mm_arg_start: 0x600010, mm_arg_end: 0x600020 })]);
    const pages = new Uint8Array(3 * 4096);
    pages.set(new TextEncoder().encode('server\0--port\x0080\0'), 16);
    images.files.set('pages-1.img', pages);
    expect(drawTree(new ImageFolder(images), { showsAll: false })).toContain('| command  server --port 80');
  });

  test('shows what is left of damaged images', () => {
    const images = sampleImages();
    images.files.set('mm-10.img', new Uint8Array([1, 2, 3]));
    images.files.delete('files.img');
    const lines = drawTree(new ImageFolder(images), { showsAll: true });
    expect(lines).toContain('| memory   0 B in 0 mappings, 0 B saved');
    expect(lines).toContain('|            3  pipe not among the open files (closes on exec)');
    expect(lines.at(-1)).toBe('damaged: mm-10.img: the file is too short for an image');
  });
});

describe('x', () => {
  const images = sampleImages();
  const x = (what: 'ps' | 'fds' | 'mems' | 'rss') => explore(new BytesReader((name) => images.files.get(name)), what);

  test('lists tasks', () => {
    expect(x('ps')).toEqual([
      '    PID   PGID    SID   COMM',
      '     10     10     10   server',
      '     12     12     10       child',
      '     13     12     10           gone',
    ]);
  });

  test('lists open files', () => {
    expect(x('fds')).toEqual([
      '10',
      '\t      1: /var/log/it\x1b[31m',
      '\t      3: pipe[900]',
      '\t      4: INETSK.6',
      '\t    cwd: /home',
      '\t   root: /home',
      '12',
      '\t      1: /var/log/it\x1b[31m',
      '\t      5: pipe[900]',
      '\t      6: unix[70 (71) =00abstract&]',
      '\t    cwd: /home',
      '\t   root: /home',
      '13',
    ]);
  });

  test('lists mappings', () => {
    expect(x('mems').slice(0, 7)).toEqual([
      '10',
      `\texe${' '.repeat(37)}/bin/<script>alert(1)</script>`,
      `\t00400000-00404000${' '.repeat(19)}r-x /bin/<script>alert(1)</script>`,
      `\t00600000-00602000${' '.repeat(19)}rw-`,
      `\t7f0000000000-7f0000008000${' '.repeat(11)}rw- shmem[1]`,
      `\t7f1000000000-7f1000400000${' '.repeat(11)}---`,
      `\t7f2000000000-7f2000064000${' '.repeat(11)}rw-`,
    ]);
  });

  test('lists pages', () => {
    const blanks = `\n\t${' '.repeat(23)}`;
    expect(x('rss')).toEqual([
      '10',
      `\t600000 / 1${' '.repeat(13)} 00600000 / 2       ${blanks}`,
      `\t7f2000000000 / 2${' '.repeat(7)} 7f2000000000 / 100     ${blanks}`,
      '12',
    ]);
  });
});
