/**
 * Compares our crit with the one of CRIU: `bun tools/compare-crit.ts --criu FOLDER IMAGES…`, where FOLDER is a source tree
 * of CRIU with its Python parts built, and each IMAGES is a folder that is searched for images.
 *
 * For each image: decode, plain and pretty, as text and as value (fields that only we have left out), and whether our
 * encode of our decode gives the same bytes again, and that of CRIU's decode too. Prints a line for everything that is not
 * the same, and a sum.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { errorText } from '../src/base/errors.ts';
import { ArraySink, arraySource } from '../src/crit/byte-stream.ts';
import { decodeImage } from '../src/crit/decode-image.ts';
import { encodeImage } from '../src/crit/encode-image.ts';

/** CRIU's crit on many images at once: starting Python for each would take most of the time. */
const PYTHON = `
import sys, json, io
import pycriu
for line in sys.stdin:
    path, pretty = line.rstrip("\\n").split("\\t")
    try:
        with open(path, "rb") as f:
            image = pycriu.images.load(f, pretty == "1")
        text = json.dumps(image, indent=4 if pretty == "1" else None)
        print("ok", len(text), flush=True)
        sys.stdout.write(text)
        sys.stdout.flush()
    except BaseException as e:
        print("failed", type(e).__name__, str(e).replace("\\n", " "), flush=True)
`;

interface Counts {
  images: number;
  sameText: number;
  sameValue: number;
  onlyOurs: number;
  different: number;
  bothFail: number;
  roundTrips: number;
  broken: number;
}

export function decodeText(bytes: Uint8Array, name: string, isPretty: boolean): string {
  const sink = new ArraySink();
  decodeImage(arraySource(bytes), name, sink, { isPretty, hasNoPayload: false, endsWithNewline: false });
  return Buffer.from(sink.bytes).toString('latin1');
}

export function encodeText(text: string, name: string): Uint8Array {
  const sink = new ArraySink();
  encodeImage(arraySource(Buffer.from(text, 'utf8')), name, sink, { warn: () => {} });
  return sink.bytes;
}

class CriuCrit {
  private readonly process;
  private readonly reader;
  private buffer = Buffer.alloc(0);

  constructor(criu: string) {
    this.process = Bun.spawn(['/usr/bin/python3', '-c', PYTHON], {
      env: { ...process.env, PYTHONPATH: `${criu}/lib:${criu}/crit` },
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit',
    });
    this.reader = this.process.stdout.getReader();
  }

  async decode(path: string, isPretty: boolean): Promise<{ text: string } | { failure: string }> {
    this.process.stdin.write(`${path}\t${isPretty ? 1 : 0}\n`);
    this.process.stdin.flush();
    while (!this.buffer.includes(10)) await this.more();
    const end = this.buffer.indexOf(10);
    const line = this.buffer.toString('utf8', 0, end);
    this.buffer = this.buffer.subarray(end + 1);
    if (!line.startsWith('ok ')) return { failure: line };
    const length = Number(line.slice(3));
    while (this.buffer.length < length) await this.more();
    const text = this.buffer.toString('latin1', 0, length);
    this.buffer = this.buffer.subarray(length);
    return { text };
  }

  close(): void {
    this.process.kill();
  }

  private async more(): Promise<void> {
    const { value, done } = await this.reader.read();
    if (done || value === undefined) throw new Error("CRIU's crit has ended");
    this.buffer = Buffer.concat([this.buffer, value]);
  }
}

/** The value without the fields that only our images have. */
function withoutExtensions(text: string): string {
  return JSON.stringify(JSON.parse(text.replace(/([ [:])(-?\d{16,})/g, '$1"$2"')), (key, value) =>
    /_ext$/.test(key) || key === 'unknown_fields' ? undefined : value,
  );
}

function imagesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.img$|(^|\/)(stats-\w+|irmap-cache)$/.test(name) && !/(^|\/)pages-/.test(name))
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

async function compare(path: string, isPretty: boolean, criu: CriuCrit, counts: Counts): Promise<void> {
  const bytes = readFileSync(path);
  const theirs = await criu.decode(path, isPretty);
  let ours: string;
  counts.images++;
  try {
    ours = decodeText(bytes, path, isPretty);
  } catch (error) {
    if ('failure' in theirs) counts.bothFail++;
    else {
      counts.different++;
      console.log(`${path}: ${errorText(error)}`);
    }
    return;
  }
  if ('failure' in theirs) {
    counts.onlyOurs++;
    console.log(`${path}: CRIU: ${theirs.failure}`);
  } else if (theirs.text === ours) counts.sameText++;
  else if (withoutExtensions(theirs.text) === withoutExtensions(ours)) counts.sameValue++;
  else {
    counts.different++;
    console.log(`${path}: pretty ${isPretty}: the values differ`);
  }
  const again = encodeText(ours, path);
  const isSame = Buffer.compare(again, bytes) === 0;
  const fromTheirs = 'text' in theirs && theirs.text === ours;
  if (isSame) counts.roundTrips++;
  else {
    counts.broken++;
    console.log(
      `${path}: pretty ${isPretty}: ${again.length} bytes after a round trip, ${bytes.length} before (${fromTheirs})`,
    );
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    args: Bun.argv.slice(2),
    options: { criu: { type: 'string' } },
    allowPositionals: true,
  });
  if (values.criu === undefined || positionals.length === 0) {
    console.error('usage: bun tools/compare-crit.ts --criu FOLDER IMAGES...');
    process.exit(2);
  }
  const criu = new CriuCrit(resolve(values.criu));
  const counts = {
    images: 0,
    sameText: 0,
    sameValue: 0,
    onlyOurs: 0,
    different: 0,
    bothFail: 0,
    roundTrips: 0,
    broken: 0,
  };
  for (const path of positionals.flatMap(imagesIn)) {
    for (const isPretty of [false, true]) await compare(path, isPretty, criu, counts);
  }
  criu.close();
  console.log(JSON.stringify(counts));
  process.exit(counts.different + counts.broken > 0 ? 1 : 0);
}

if (import.meta.main) await main();
