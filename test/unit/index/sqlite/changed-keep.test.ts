import { StatementSync } from 'node:sqlite';
import { expect, test, vi } from 'vitest';
import { digestOf } from '../../../../src/oci/digest.ts';
import { parseRepository } from '../../../../src/oci/reference.ts';
import { startCompleteIndex, startIndex } from '../../../support/sqlite-index.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

test('a start with a changed storage.keep looks at the links of the repositories that it changes, and at no others', async () => {
  const directory = await temporaryDirectory();
  const { index: before } = await startCompleteIndex(directory, { keep: ['docker.io/team/app-1'] });
  const digest = digestOf(Buffer.from('layer'));
  before.recordContent({ digest, size: 7, isManifest: false, names: [], usedAtMs: 1 });
  for (let number = 0; number < 100; number += 1) {
    const repositoryId = { upstream: 'docker.io', repository: parseRepository(`team/app-${number}`) };
    before.recordLink({ repositoryId, kind: 'blob', digest, mediaType: undefined, size: 7 });
  }
  await before.stop();

  const runs = vi.spyOn(StatementSync.prototype, 'run');
  const { index: again } = await startIndex(directory, { keep: ['docker.io/team/app-2'] });
  const updated = runs.mock.contexts.filter((statement) =>
    String(Object(statement).sourceSQL).includes('UPDATE links'),
  );
  expect(updated).toHaveLength(2);
  expect(await again.totals()).toMatchObject({ keptBytes: 4096 });
});
