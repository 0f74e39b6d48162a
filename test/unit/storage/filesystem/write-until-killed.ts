import { parseRepository, parseTag } from '../../../../src/oci/reference.ts';
import { digestOf } from '../../../../src/oci/digest.ts';
import { fileStores } from '../../../support/file-stores.ts';

// A process that dies at the step it is told: `write-until-killed.ts <storage path> <failpoint>`.
const [path = '', fatalStep] = process.argv.slice(2);
const bytes = Buffer.alloc(100_000, 'layer');
const { store, records } = fileStores({
  path,
  failpoint: (step) => {
    if (step === fatalStep) process.kill(process.pid, 'SIGKILL');
  },
});

await store.prepare();
await using incoming = await store.create(digestOf(bytes), 'docker.io');
await incoming.append([bytes.subarray(0, 10), bytes.subarray(10)]);
await incoming.commit();
const repositoryId = { upstream: 'docker.io', repository: parseRepository('library/alpine') };
await records.write({ kind: 'tag', repositoryId, tag: parseTag('latest') }, { digest: digestOf(bytes) });
