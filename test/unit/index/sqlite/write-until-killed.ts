import { digestOf } from '../../../../src/oci/digest.ts';
import { indexAt, never } from '../../../support/sqlite-index.ts';

// A process that owns an index, says "noted", and continues until it is killed: `write-until-killed.ts <directory>`.
const [directory = ''] = process.argv.slice(2);
const { index } = indexAt(directory);
await index.start();
await index.completeRebuild({ signal: never });
const layer = digestOf(Buffer.from('layer'));
const manifest = digestOf(Buffer.from('manifest'));
index.recordContent({ digest: layer, size: 10, isManifest: false, names: [], usedAtMs: 1 });
index.recordContent({ digest: manifest, size: 1, isManifest: true, names: [layer], usedAtMs: 2 });
await index.settled();
process.stdout.write('noted\n');
setInterval(() => {}, 1000);
