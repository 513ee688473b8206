/** The commands of crit that look at a whole folder of images. Each returns its exit status and throws CriuError. */

import { CriuError } from '../../base/errors.ts';
import { plural } from '../../crit/describe-file.ts';
import { ImageFolder } from '../../crit/image-folder.ts';
import { ImageDir } from '../../image/image-dir.ts';
import { BytesReader } from '../../image/image-reader.ts';
import { complain, FileSink, print, printLines, STDOUT } from './descriptors.ts';

export async function exploreFolder(path: string, what: string | undefined): Promise<number> {
  const { explore, EXPLORATIONS } = await import('../../crit/explore.ts');
  const folder = ImageDir.open(path);
  const exploration = EXPLORATIONS.find((name) => name === what) ?? 'ps';
  print(explore(new BytesReader((name) => folder.tryReadBytes(name)), exploration).join('\n'));
  return 0;
}

export async function verifyFolder(path: string): Promise<number> {
  const { verify } = await import('../../crit/verify.ts');
  const { images, tasks, problems, notes } = verify(ImageDir.open(path));
  printLines([...problems, ...notes.map((note) => `note: ${note}`)]);
  const found = problems.length === 0 ? 'no problems' : plural(problems.length, 'problem');
  print(`${path}: ${plural(images, 'image')}, ${plural(tasks, 'task')}, ${found}`);
  return problems.length === 0 ? 0 : 1;
}

const DIFFERENCES_SHOWN = 20;

/** As diff(1): 1 when there are differences, 2 when something went wrong. */
export async function diffTwoFolders(first: string, second: string, showsAll: boolean): Promise<number> {
  const { diffFolders } = await import('../../crit/diff.ts');
  try {
    const linesMax = showsAll ? Number.POSITIVE_INFINITY : DIFFERENCES_SHOWN;
    const lines = diffFolders(ImageDir.open(first), ImageDir.open(second), { linesMax });
    printLines(lines);
    return lines.length > 0 ? 1 : 0;
  } catch (error) {
    if (!(error instanceof CriuError)) throw error;
    complain(`crit: error: ${error.message}`);
    return 2;
  }
}

export async function showTree(path: string, showsAll: boolean): Promise<number> {
  const { drawTree } = await import('../../crit/tree.ts');
  printLines(drawTree(openTree(path), { showsAll }));
  return 0;
}

export async function writeReport(path: string, to: string | undefined): Promise<number> {
  const { verify } = await import('../../crit/verify.ts');
  const { drawReport } = await import('../../crit/report/report.ts');
  const page = drawReport({ folder: openTree(path), path, verdict: verify(ImageDir.open(path)) });
  const sink = new FileSink(to ?? STDOUT);
  sink.write(Buffer.from(page, 'utf8'));
  sink.finish();
  return 0;
}

/** A folder with at least a process tree in it. */
function openTree(path: string): ImageFolder {
  const folder = new ImageFolder(ImageDir.open(path));
  if (folder.tryRead('pstree') !== undefined) return folder;
  const [problem] = folder.problems;
  throw new CriuError(
    problem === undefined
      ? {
          object: `${path}/pstree.img`,
          action: 'there is no such image',
          why: 'this is no folder of images, or the dump did not finish',
        }
      : { action: problem },
  );
}
