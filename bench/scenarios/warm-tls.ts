import { mkdir } from 'node:fs/promises';
import { makeCertificateFiles } from '../../test/support/certificate-files.ts';
import { startLayerwell } from '../contenders/layerwell.ts';
import { startNginx } from '../contenders/nginx.ts';
import type { ScenarioName } from '../options.ts';
import type { Sample } from '../samples.ts';
import type { Stage } from './stage.ts';
import { measureWarmBlob, type WarmPulls } from './warm-blob.ts';

/** Clients pull a cached blob by HTTPS, from a Layerwell and an nginx of its own. The clients decrypt; only the servers' CPU is counted. */
export async function measureWarmTls(
  stage: Stage,
  measurement: ScenarioName,
  pulls: WarmPulls,
): Promise<readonly Sample[]> {
  const { upstream, warmImage } = stage;
  const certificates = stage.site(`${measurement}-certificates`);
  await mkdir(certificates.folder, { recursive: true });
  const tls = await makeCertificateFiles(certificates.folder, 'bench');
  const site = stage.site(`${measurement}-layerwell`);
  await using layerwell = await startLayerwell(site, upstream.url, { tls });
  await using nginx = await startNginx(stage.site(`${measurement}-nginx`), upstream.folder, warmImage, tls);
  return await measureWarmBlob(stage, measurement, pulls, [nginx, layerwell]);
}
