/** `npm run walk`: prints the files of src/ that a cold blob and a fresh tag run through, in call order. */
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { recordPullWalks, type Walk } from './walk/pull-walk.ts';

/** `--functions` also prints the functions that are called in each file. */
const withFunctions = process.argv.includes('--functions');

function paragraph(title: string, { files, functions }: Walk): string {
  const lines = files.map(({ file, functions: names }, index) => {
    const line = `${String(index + 1).padStart(3)}  ${file}  (${names.length})`;
    return withFunctions ? `${line}\n       ${names.map((name) => name || '(anonymous)').join(', ')}` : line;
  });
  return [`${title}: ${files.length} files, ${functions} functions`, ...lines, ''].join('\n');
}

await using folder = await mkdtempDisposable(join(tmpdir(), 'layerwell-walk-'));
const { coldBlob, freshTag } = await recordPullWalks(folder.path);
process.stdout.write(`${paragraph('A cold blob of 3 MiB for two clients', coldBlob)}\n`);
process.stdout.write(paragraph('A fresh tag', freshTag));
