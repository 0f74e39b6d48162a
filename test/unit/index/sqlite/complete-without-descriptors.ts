import { closeSync, openSync } from 'node:fs';
import { digestOf } from '../../../../src/oci/digest.ts';
import { indexAt, never } from '../../../support/sqlite-index.ts';

// Ends a rebuild while no file can be opened, and stops in order: `complete-without-descriptors.ts <directory>`, under `ulimit -n`.
const [directory = ''] = process.argv.slice(2);
const { index, failures } = indexAt(directory);
await index.start();
index.beginRebuild();
index.recordStoredContent({ digest: digestOf(Buffer.from('a')), size: 1, isManifest: false, names: [], usedAtMs: 1 });
const held = [...takeAll()];
await index.completeRebuild({ signal: never });
const { blobs } = await index.totals();
for (const descriptor of held) closeSync(descriptor);
await index.stop();
process.stdout.write(JSON.stringify({ failures: failures.map(String), blobs }));

function* takeAll(): Generator<number> {
  try {
    for (;;) yield openSync('/dev/null', 'r');
  } catch {
    // There are no more.
  }
}
