import { afterAll, describe, expect, test } from 'bun:test';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PstreeEntry } from './gen/pstree.ts';
import { ImageDir } from './image-dir.ts';

const TASK: PstreeEntry = { pid: 12, ppid: 0, pgid: 12, sid: 12, threads: [12] };

const root = mkdtempSync(join(tmpdir(), 'criu-image-dir-'));
afterAll(() => rmSync(root, { recursive: true }));

let count = 0;
function newDir(): ImageDir {
  const path = join(root, String(count++));
  mkdirSync(path);
  return ImageDir.open(path);
}

describe('an image directory', () => {
  test('loses images of an older dump which this one does not have', () => {
    const older = newDir();
    for (const name of ['filelocks', 'tty-data', 'cpuinfo'] as const) older.write(name, undefined, []);
    for (const id of [7, 8]) older.write('ipcns-shm', id, []);
    for (const name of ['dump.log', 'stats-dump', 'disk.img']) older.writeFile(name, new Uint8Array(1));
    const dir = ImageDir.open(older.path);
    dir.write('tty-data', undefined, []);
    dir.write('ipcns-shm', 8, []);
    dir.removeOlder();
    expect(dir.names().sort()).toEqual([
      'cpuinfo.img',
      'disk.img',
      'dump.log',
      'ipcns-shm-8.img',
      'stats-dump',
      'tty-data.img',
    ]);
  });

  test('gives back what was written, readable by the owner only', () => {
    const dir = newDir();
    dir.write('pstree', undefined, [TASK, TASK]);
    dir.write('fs', 12, [{ cwd_id: 1, root_id: 2 }]);
    dir.write('inventory', undefined, [{ img_version: 2 }]);
    expect(dir.read('pstree')).toEqual([TASK, TASK]);
    expect(dir.readOne('fs', 12)).toEqual({ cwd_id: 1, root_id: 2 });
    expect(dir.names().sort()).toEqual(['fs-12.img', 'inventory.img', 'pstree.img']);
    expect(statSync(dir.imagePath('fs', 12)).mode & 0o777).toBe(0o600);
    expect(dir.has('fs', 12)).toBe(true);
    expect(dir.fileSize('inventory')).toBe(10);
  });

  test('replaces an older image', () => {
    const dir = newDir();
    dir.write('pstree', undefined, [TASK, TASK]);
    dir.write('pstree', undefined, [TASK]);
    expect(dir.read('pstree')).toEqual([TASK]);
  });

  test('writes a list element by element', () => {
    const dir = newDir();
    const writer = dir.createWriter('pstree');
    const entries = Array.from({ length: 40_000 }, (_, pid) => ({ ...TASK, pid }));
    for (const entry of entries) writer.add(entry);
    writer.close();
    expect(dir.read('pstree')).toEqual(entries);
  });

  test('removes what it has written, and nothing else', () => {
    const dir = newDir();
    writeFileSync(dir.rawPath('notes.txt'), 'mine');
    dir.write('pstree', undefined, [TASK]);
    dir.createWriter('files').close();
    dir.recordCreated('pages-1.img');
    dir.discard();
    expect(readdirSync(dir.path)).toEqual(['notes.txt']);
  });

  test('takes paths as bytes', () => {
    const bytes = Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0x66, 0xff, 0xc3])]);
    mkdirSync(bytes);
    const dir = ImageDir.open(bytes.toString('latin1'));
    dir.write('pstree', undefined, [TASK]);
    expect(dir.read('pstree')).toEqual([TASK]);
  });

  test('knows its parent', () => {
    const dir = newDir();
    expect(dir.openParent()).toBeUndefined();
    symlinkSync(`../${count}`, dir.rawPath('parent'));
    const parent = newDir();
    expect(dir.openParent()?.path).toBe(`${dir.path}/../${parent.path.slice(root.length + 1)}`);
  });

  test('says that an image is missing and what that means', () => {
    const dir = newDir();
    expect(dir.tryRead('pstree')).toBeUndefined();
    expect(dir.tryReadOne('core', 5)).toBeUndefined();
    expect(dir.has('core', 5)).toBe(false);
    expect(() => dir.read('inventory')).toThrow(
      new Error(
        `${dir.path}/inventory.img: there is no such image: this is not a directory of images, or the dump did not finish`,
      ),
    );
    expect(() => dir.readOne('core', 5)).toThrow(
      new Error(`${dir.path}/core-5.img: there is no such image: the state of this task is not known`),
    );
  });

  test('refuses anything but regular files', () => {
    const dir = newDir();
    symlinkSync('/etc/passwd', dir.rawPath('pstree.img'));
    expect(() => dir.read('pstree')).toThrow(
      new Error(`${dir.path}/pstree.img: cannot read the image: this is a symbolic link`),
    );
    expect(() => dir.write('pstree', undefined, [])).toThrow(
      new Error(`${dir.path}/pstree.img: cannot create the image: ELOOP`),
    );
    mkdirSync(dir.rawPath('files.img'));
    expect(() => dir.read('files')).toThrow(
      new Error(`${dir.path}/files.img: cannot read the image: this is not a regular file`),
    );
  });

  test('refuses files that are too big to be images', () => {
    const dir = newDir();
    writeFileSync(dir.rawPath('files.img'), '');
    truncateSync(dir.rawPath('files.img'), 1024 ** 3 + 1);
    expect(() => dir.read('files')).toThrow(
      new Error(`${dir.path}/files.img: cannot read the image: 1073741825 bytes are too many, the limit is 1073741824`),
    );
  });

  test('refuses more or less than one entry where one is expected', () => {
    const dir = newDir();
    dir.write('fs', 1, []);
    expect(() => dir.readOne('fs', 1)).toThrow(new Error('fs-1.img: one entry is expected, but 0 are there'));
    dir.write('inventory', undefined, [{ img_version: 1 }, { img_version: 2 }]);
    expect(() => dir.readOne('inventory')).toThrow(new Error('inventory.img: one entry is expected, but 2 are there'));
  });

  test('a parent folder is made with its link, and goes with a dump that fails', () => {
    const dir = newDir();
    symlinkSync('../older', dir.rawPath('parent'));
    const base = dir.tryCreateParent('base');
    base?.write('fs', 1, []);
    expect(dir.openParent()?.path).toBe(`${dir.path}/base`);
    expect(dir.names().sort()).toEqual(['base', 'parent']);
    dir.discard();
    expect(dir.names()).toEqual([]);
  });

  test('there is no parent folder where something else is called so', () => {
    const dir = newDir();
    mkdirSync(dir.rawPath('parent'));
    expect(dir.tryCreateParent('base')).toBeUndefined();
    expect(dir.names()).toEqual(['parent']);
  });

  test('must exist', () => {
    expect(() => ImageDir.open(`${root}/nothing`)).toThrow(
      new Error(
        `${root}/nothing: cannot open the image directory: ENOENT; make the directory or name another one with --images-dir`,
      ),
    );
    writeFileSync(`${root}/file`, '');
    expect(() => ImageDir.open(`${root}/file`)).toThrow(
      new Error(
        `${root}/file: cannot open the image directory: ENOTDIR; make the directory or name another one with --images-dir`,
      ),
    );
  });
});
