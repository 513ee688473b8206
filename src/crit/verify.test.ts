import { describe, expect, test } from 'bun:test';
import { core, type MemoryFiles, sampleImages } from './image-files.test-support.ts';
import { verify } from './verify.ts';

const problemsOf = (change: (images: MemoryFiles) => void): readonly string[] => {
  const images = sampleImages();
  change(images);
  return verify(images).problems;
};

test('a whole folder has no problems', () => {
  expect(verify(sampleImages())).toEqual({ images: 19, tasks: 3, problems: [], notes: [] });
});

describe('what is missing is named', () => {
  test('images', () => {
    expect(problemsOf(({ files }) => files.delete('inventory.img'))).toContain(
      'inventory.img: there is no such image: the dump did not finish, or this is no folder of images',
    );
    expect(problemsOf(({ files }) => files.delete('core-11.img'))).toEqual([
      'core-11.img: there is no such image: the state of task 10 is not known',
    ]);
    expect(problemsOf(({ files }) => files.delete('fdinfo-10.img'))).toEqual([
      'fdinfo-10.img: there is no such image: the open files are not known',
    ]);
  });

  test('pages', () => {
    expect(problemsOf(({ files }) => files.set('pages-1.img', new Uint8Array(4096)))).toEqual([
      'pagemap-10.img: 12288 bytes of pages are expected, but pages-1.img has 4096',
    ]);
  });

  test('what other images refer to', () => {
    const problems = problemsOf((images) => {
      images.put('fs', 10, [{ cwd_id: 99, root_id: 2 }]);
      images.put('remap-fpath', undefined, [{ orig_id: 3, remap_id: 0x8000_0010 }]);
      images.put('pipes-data', undefined, [{ message: { pipe_id: 901, bytes: 0 }, payload: new Uint8Array() }]);
      const thread = core('worker');
      images.put('core', 11, [{ ...thread, thread_core: { ...thread.thread_core, seccomp_filter: 3 } as never }]);
    });
    expect(problems).toEqual([
      'remap-fpath.img: entry 0: remap_id: ghost-file-10.img is not there',
      'pipes-data.img: entry 0: pipe_id: 901 is not among the open files',
      'core-11.img: entry 0: thread_core.seccomp_filter: 3 is not in seccomp.img',
      'fs-10.img: cwd_id: it refers to file 99, which is not in files.img',
    ]);
  });
});

test('what is damaged is named, and does not hide the rest', () => {
  const problems = problemsOf((images) => {
    images.files.set('mm-10.img', (images.files.get('mm-10.img') as Uint8Array).slice(0, -1));
    images.files.set('fs-12.img', new Uint8Array());
    images.put('core', 12, [{ mtype: 1 }]);
    images.files.delete('core-13.img');
  });
  expect(problems).toHaveLength(3);
  expect(problems[2]).toBe('core-13.img: there is no such image: the state of task 13 is not known');
  expect(problems[0]).toStartWith('fs-12.img: the file is empty');
  expect(problems[1]).toStartWith('mm-10.img: entry 0: the file is truncated');
});

describe('a tree that is none', () => {
  test('is found out', () => {
    const row = (pid: number, ppid: number) => ({ pid, ppid, pgid: 10, sid: 10, threads: [pid] });
    const tree = (...rows: [number, number][]) =>
      problemsOf((images) =>
        images.put(
          'pstree',
          undefined,
          rows.map(([pid, ppid]) => row(pid, ppid)),
        ),
      ).filter((line) => line.startsWith('pstree'));
    expect(tree([10, 0], [12, 0])).toEqual(['pstree.img: there are 2 root tasks instead of one']);
    expect(tree([10, 0], [12, 9])).toEqual(['pstree.img: task 9, the parent of 12, is not in the tree']);
    expect(tree([10, 0], [12, 13], [13, 12])).toEqual([
      'pstree.img: task 12 is its own ancestor',
      'pstree.img: task 13 is its own ancestor',
    ]);
  });
});

describe('pages of an earlier dump', () => {
  const inParent = (images: MemoryFiles) => {
    const entries = [{ vaddr: 0x600000, compat_nr_pages: 2, flags: 1 }];
    images.put('pagemap', 10, { head: { pages_id: 1 }, entries });
    images.files.set('pages-1.img', new Uint8Array());
  };

  test('are looked for in its folder', () => {
    expect(
      problemsOf((images) => {
        images.parent = sampleImages();
        inParent(images);
      }),
    ).toEqual([
      'pagemap-10.img: the page at 601000 is said to be in the images of an earlier dump, but none of them has it',
    ]);
  });

  test('and in those before that', () => {
    expect(
      problemsOf((images) => {
        const middle = sampleImages();
        inParent(middle);
        const first = sampleImages();
        first.put('pagemap', 10, {
          head: { pages_id: 1 },
          entries: [{ vaddr: 0x600000, compat_nr_pages: 2, flags: 4 }],
        });
        first.files.set('pages-1.img', new Uint8Array(8192));
        middle.parent = first;
        images.parent = middle;
        inParent(images);
      }),
    ).toEqual([]);
  });

  test('are all in its pages image', () => {
    const entries = [{ vaddr: 0x600000, compat_nr_pages: 2, flags: 4 }];
    expect(
      problemsOf((images) => {
        const parent = sampleImages().put('pagemap', 10, { head: { pages_id: 1 }, entries });
        parent.files.set('pages-1.img', new Uint8Array(4096));
        images.parent = parent;
        inParent(images);
      }),
    ).toEqual(['parent: pagemap-10.img: 8192 bytes of pages are expected, but pages-1.img has 4096']);
  });

  test('need a folder', () => {
    expect(problemsOf(inParent)[0]).toBe(
      'pagemap-10.img: the run of pages 600000-602000 is in the images of the dump before, but there are none',
    );
  });
});

test('files that are no images are mentioned', () => {
  const images = sampleImages();
  for (let index = 0; index < 8; index++) images.files.set(`other-${index}`, new Uint8Array());
  images.files.set('dump.log', new Uint8Array());
  expect(verify(images).notes).toEqual(['not images: other-0, other-1, other-2, other-3, other-4, other-5 and 2 more']);
});
