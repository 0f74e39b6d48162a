import type { ScenarioName } from '../options.ts';
import type { Sample } from '../samples.ts';
import { measureCold } from './cold-blob.ts';
import { measureColdMany } from './cold-many.ts';
import { measureIdle } from './idle.ts';
import type { Stage } from './stage.ts';
import { measureWarmBlob } from './warm-blob.ts';
import { measureSmallBlob, measureWarmManifest } from './warm-manifest.ts';
import { measureWarmTls } from './warm-tls.ts';

/** Runs one measurement. @throws Error if a response is wrong: then the number means nothing. */
export async function measure(scenario: ScenarioName, stage: Stage): Promise<readonly Sample[]> {
  switch (scenario) {
    case 'idle':
      return measureIdle(stage);
    case 'warm-blob':
      return measureWarmBlob(stage, scenario, { clients: 2, times: 4 });
    case 'warm-blob-10':
      return measureWarmBlob(stage, scenario, { clients: 10, times: 1 });
    case 'warm-blob-30':
      return measureWarmBlob(stage, scenario, { clients: 30, times: 1 });
    case 'warm-blob-tls':
      return measureWarmTls(stage, scenario, { clients: 2, times: 2 });
    case 'warm-blob-tls-10':
      return measureWarmTls(stage, scenario, { clients: 10, times: 1 });
    case 'small-blob':
      return measureSmallBlob(stage);
    case 'warm-manifest-tag':
      return measureWarmManifest(stage, 'tag');
    case 'warm-manifest-digest':
      return measureWarmManifest(stage, 'digest');
    case 'cold-1':
      return measureCold(stage, 'cold-1', 1);
    case 'cold-10':
      return measureCold(stage, 'cold-10', 10);
    case 'cold-50':
      return measureColdMany(stage);
  }
}
