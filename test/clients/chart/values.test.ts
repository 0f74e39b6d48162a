import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pLimit from 'p-limit';
import { beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config/loading/load.ts';
import type { Config } from '../../../src/config/schema.ts';
import { describeWithTools, findTool } from '../../support/tools.ts';
import {
  at,
  chart,
  configIn,
  objectOf,
  refusalOf,
  refusalOfFile,
  type Rendered,
  render,
  renderFile,
  renderWith,
} from './render.ts';
import { kubeconform } from './schemas.ts';
import { valuesFilesIn } from './values-files.ts';

const accepted = [...valuesFilesIn(join(chart, 'ci')), ...valuesFilesIn(join(import.meta.dirname, 'accepted'))];
const refused = valuesFilesIn(join(import.meta.dirname, 'refused'));

/** Loads a configuration as in a pod: with the environment that the chart sets, and any file. */
function loadInPod(text: string): Promise<Config> {
  const file = '/etc/layerwell/mirror.config.json';
  const readFile = async (path: string) => (path === file ? text : 'content');
  const env = {
    POD_IP: text.includes('[${env:POD_IP}]') ? 'fd00::7' : '10.0.0.7',
    POD_NAME: 'release-layerwell-0',
  };
  return loadConfig({ file, env, readFile });
}

/** What each guard of a template says, as a pattern. */
function guardsIn(template: string): readonly RegExp[] {
  const texts = [...template.matchAll(/^(?:\{\{ printf "((?:[^"\\]|\\.)*)".*|([a-z].*))$/gm)];
  return texts.map(([, format, text]) => {
    const words = (format?.replaceAll('\\"', '"') ?? text ?? '').split(format === undefined ? '\0' : /%[a-z]/);
    return new RegExp(words.map((each) => RegExp.escape(each)).join('.*'));
  });
}

async function settled<Value>(promise: Promise<Value>): Promise<PromiseSettledResult<Value>> {
  const [result] = await Promise.allSettled([promise]);
  return result;
}

function valueOf<Value>(result: PromiseSettledResult<Value> | undefined): Value {
  if (result === undefined) throw new Error('helm was not asked');
  if (result.status === 'rejected') throw result.reason;
  return result.value;
}

describeWithTools(['helm'], 'values of the Helm chart', () => {
  const rendered = new Map<string, PromiseSettledResult<Rendered>>();
  const said = new Map<string, PromiseSettledResult<string>>();

  beforeAll(async () => {
    const limit = pLimit(3);
    await Promise.all([
      ...accepted.map(({ path }) => limit(async () => rendered.set(path, await settled(renderFile(path))))),
      ...refused.map(({ path }) => limit(async () => said.set(path, await settled(refusalOfFile(path))))),
    ]);
  }, 180_000);

  test.each(accepted)('$title', async ({ path, expected, absent }) => {
    const all = valueOf(rendered.get(path));
    expect(expected.length + absent.length, 'comments "# expect:" and "# absent:"').toBeGreaterThan(0);
    for (const { kind, suffix, path: key, value } of expected) {
      const object = kind === 'config' ? JSON.parse(configIn(all)) : objectOf(all, kind, suffix);
      expect(object, `${kind}${suffix}`).toBeDefined();
      expect(at(object, key), `${kind}${suffix} ${key}`).toEqual(value);
    }
    for (const { kind, suffix } of absent) expect(objectOf(all, kind, suffix), `${kind}${suffix}`).toBeUndefined();
    await expect(loadInPod(configIn(all))).resolves.toBeDefined();
  });

  test.each(refused)('refused: $title', ({ path, refused: texts }) => {
    expect(texts.length, 'comments "# refused:"').toBeGreaterThan(0);
    for (const text of texts) expect(valueOf(said.get(path))).toContain(text);
  });

  test('a release whose name a Service cannot have is refused, unless the chart is given another', async () => {
    const named = (name: string, ...args: readonly string[]) => refusalOf([...args, '--name-template', name]);
    expect(await named('7.up')).toContain('the release "7.up": 7.up-layerwell cannot be the name of a Service.');
    await expect(named('7.up', '--set', 'fullnameOverride=seven')).rejects.toThrow('accepted');
  });

  test('every guard of the chart refuses one of these', () => {
    const all = [...said.values()].map((each) => (each.status === 'fulfilled' ? each.value : '')).join('\n');
    // Those of an upgrade need a cluster: upgrade.test.ts.
    const files = globSync(join(chart, 'templates/_problems*.tpl')).filter((file) => !file.includes('upgrade'));
    const guards = files.flatMap((file) => guardsIn(readFileSync(file, 'utf8')));
    expect(guards.length).toBeGreaterThan(50);
    expect(guards.filter((guard) => !guard.test(all))).toEqual([]);
  });

  test.each([
    { title: 'Docker Hub may be removed from the upstreams', set: 'config.upstreams.docker\\.io=null' },
    { title: 'a listener may be on every IPv4 address', set: 'config.listen.host=0.0.0.0' },
  ])('$title', async ({ set }) => {
    await expect(loadInPod(configIn(await renderWith(set)))).resolves.toBeDefined();
  });

  test.each([
    { port: 443, sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] },
    { port: 5000, sysctls: null },
  ])(
    'the user of the image may listen on port $port, whatever the container runtime allows',
    async ({ port, sysctls }) => {
      const all = await renderWith(`config.listen.port=${port}`);
      expect(at(objectOf(all, 'StatefulSet'), '.spec.template.spec.securityContext.sysctls')).toEqual(sysctls);
    },
  );

  test('a time to stop that only the process knows is accepted with the time of the pod', async () => {
    const drain = 'config.shutdown.drain=${env:DRAIN}';
    const all = await renderWith(drain, 'terminationGracePeriodSeconds=90');
    expect(at(objectOf(all, 'StatefulSet'), '.spec.template.spec.terminationGracePeriodSeconds')).toBe(90);
  });

  test('OpenShift is found by its API, and chooses user and group ids', async () => {
    const found = await render(['--api-versions', 'security.openshift.io/v1']);
    expect(at(objectOf(found, 'StatefulSet'), '.spec.template.spec.securityContext.runAsUser')).toBeNull();
  });

  const canValidate = findTool('kubeconform') !== undefined && findTool('kubernetes-schemas') !== undefined;
  test.skipIf(!canValidate).each(['1.29.0', '1.37.0'])(
    'every object fits the schemas of Kubernetes %s (kubeconform)',
    async (version) => {
      const isFor = ({ path }: { readonly path: string }) => version === '1.37.0' || path.includes('/ci/');
      const yaml = accepted.filter(isFor).map(({ path }) => valueOf(rendered.get(path)).yaml);
      const report = await kubeconform(yaml.join('\n---\n'), version);
      expect(report).toMatch(/Valid: \d+, Invalid: 0, Errors: 0, Skipped: 0$/m);
    },
  );
});
