import { digestOf } from '../../../../src/oci/digest.ts';
import { indexAt, never } from '../../../support/sqlite-index.ts';

// Notes more than its files may hold, and stops in order: `write-beyond-limit.ts <directory>`, under `ulimit -f`.
const [directory = ''] = process.argv.slice(2);
const { index, failures } = indexAt(directory);
await index.start();
await index.completeRebuild({ signal: never });
for (let number = 0; number < 20_000; number += 1) {
  const digest = digestOf(Buffer.from(`content ${number}`));
  index.recordContent({ digest, size: 1, isManifest: false, names: [], usedAtMs: 1 });
}
await index.totals();
await index.stop();
process.stdout.write(failures.map(() => 'failure\n').join(''));
