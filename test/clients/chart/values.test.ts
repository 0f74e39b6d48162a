import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/loading/load.ts';
import type { Config } from '../../../src/config/schema.ts';
import { describeWithTools } from '../../support/tools.ts';
import { at, chart, configIn, objectOf, refusalOfFile, renderFile } from './render.ts';
import { valuesFilesIn } from './values-files.ts';

const accepted = [...valuesFilesIn(join(chart, 'ci')), ...valuesFilesIn(join(import.meta.dirname, 'accepted'))];
const refused = valuesFilesIn(join(import.meta.dirname, 'refused'));

/** Loads a configuration as in a pod: with the environment that the chart sets, and any file. */
function loadInPod(text: string): Promise<Config> {
  const file = '/etc/layerwell/mirror.config.json';
  const readFile = async (path: string) => (path === file ? text : 'content');
  return loadConfig({
    file,
    env: { POD_IP: text.includes('[${env:POD_IP}]') ? 'fd00::7' : '10.0.0.7', POD_NAME: 'release-layerwell-0' },
    readFile,
  });
}

describeWithTools(['helm'], 'values of the Helm chart', () => {
  test.concurrent.each(accepted)('$title', async ({ path, expected, absent }) => {
    const all = await renderFile(path);
    expect(expected.length + absent.length, 'comments "# expect:" and "# absent:"').toBeGreaterThan(0);
    for (const { kind, suffix, path: key, value } of expected) {
      const object = kind === 'config' ? JSON.parse(configIn(all)) : objectOf(all, kind, suffix);
      expect(object, `${kind}${suffix}`).toBeDefined();
      expect(at(object, key), `${kind}${suffix} ${key}`).toEqual(value);
    }
    for (const { kind, suffix } of absent) expect(objectOf(all, kind, suffix), `${kind}${suffix}`).toBeUndefined();
    await expect(loadInPod(configIn(all))).resolves.toBeDefined();
  });

  test.concurrent.each(refused)('refused: $title', async ({ path, refused: texts }) => {
    const said = await refusalOfFile(path);
    expect(texts.length, 'comments "# refused:"').toBeGreaterThan(0);
    for (const text of texts) expect(said).toContain(text);
  });
});
