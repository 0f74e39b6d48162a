import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../support/processes.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { tool } from '../support/tools.ts';
import type { Client, Pulled } from './client.ts';
import type { Publish } from './pulls.ts';

/** helm, which pulls a chart as it pulls it from any registry. */
export async function helmClient(host: string): Promise<Client> {
  const place = await temporaryDirectory();
  const helm = await helmCommand();
  return {
    async pull({ repository, tag }: Pulled) {
      const chart = `oci://${host}/${repository}`;
      const { output } = await helm('pull', chart, '--version', tag, '--plain-http', '--destination', place);
      return digestSaidIn(output);
    },
    async forget() {
      for (const file of await readdir(place)) await rm(join(place, file));
    },
  };
}

/** Packages a chart and pushes it with helm itself. */
export const pushedByHelm: Publish = async ({ host }, { repository, tag }) => {
  const source = await temporaryDirectory();
  const name = repository.slice(repository.lastIndexOf('/') + 1);
  await mkdir(join(source, 'templates'));
  await writeFile(join(source, 'Chart.yaml'), `apiVersion: v2\nname: ${name}\nversion: ${tag}\n`);
  await writeFile(
    join(source, 'templates', 'config.yaml'),
    'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: app }\n',
  );
  const helm = await helmCommand();
  await helm('package', source, '--destination', source);
  const registry = `oci://${host}/${repository.slice(0, -name.length - 1)}`;
  const { output } = await helm('push', join(source, `${name}-${tag}.tgz`), registry, '--plain-http');
  return digestSaidIn(output);
};

async function helmCommand(): Promise<(...args: string[]) => Promise<{ readonly output: string }>> {
  const home = await temporaryDirectory();
  const env = {
    HELM_CACHE_HOME: home,
    HELM_CONFIG_HOME: home,
    HELM_DATA_HOME: home,
    HELM_REGISTRY_CONFIG: join(home, 'c.json'),
  };
  return async (...args) => {
    const { stdout, stderr } = await run(tool('helm'), args, { env });
    return { output: stdout + stderr };
  };
}

function digestSaidIn(output: string): string {
  return /^Digest: (\S+)$/m.exec(output)?.[1] ?? '';
}
