import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pump } from '../support/fake-answer.ts';
import type { FakeRegistry } from '../support/fake-registry.ts';
import { startFakeRegistry } from '../support/fake-registry.ts';
import { bigImage, type Image, image, multiPlatformImage, randomBlob, referrerOf } from '../support/images.ts';
import type { Owner } from '../support/owner.ts';
import { open } from '../support/client.ts';
import { pullAll, pullManifest } from '../support/pull.ts';
import { type RunningApp, startApp } from '../support/start-app.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';

export const token = 'a'.repeat(40);

export interface ExampleMirror {
  readonly app: RunningApp;
  readonly managementUrl: string;
}

const minuteMs = 60_000;
const mib = 1024 * 1024;

/** What clients of the example pull: registry, repository, tags, size of a layer in MiB. */
const images: readonly (readonly [string, string, readonly string[], number])[] = [
  ['docker.io', 'library/nginx', ['1.25', '1.27', '1.27-alpine', 'latest'], 3],
  ['docker.io', 'library/node', ['22', '24', '26-slim'], 5],
  ['docker.io', 'library/postgres', ['17', '18'], 4],
  ['docker.io', 'library/redis', ['8', '8-alpine'], 2],
  ['docker.io', 'grafana/grafana', ['12.3.0'], 4],
  ['ghcr.io', 'acme/checkout', ['v2.14.0', 'v2.15.1', 'main'], 2],
  ['ghcr.io', 'acme/storefront', ['v8.0.3'], 3],
  ['ghcr.io', 'fluxcd/source-controller', ['v1.8.0'], 1],
  ['quay.io', 'prometheus/prometheus', ['v3.8.0', 'v3.9.1'], 3],
  ['quay.io', 'cilium/cilium', ['v1.18.4'], 4],
  ['registry.k8s.io', 'pause', ['3.10'], 1],
  ['registry.k8s.io', 'kube-proxy', ['v1.35.0'], 2],
];

const longest = `acme/${'x'.repeat(100)}/${'y'.repeat(100)}/${'z'.repeat(42)}`;

/** A mirror that has been in use for a day. */
export async function startExampleMirror(owner: Owner): Promise<ExampleMirror> {
  const names = [...new Set(images.map(([registry]) => registry))];
  const registries = new Map<string, FakeRegistry>();
  for (const registry of names) registries.set(registry, await startFakeRegistry({ owner }));
  const down = await startFakeRegistry({ owner });
  const hub = registries.get('docker.io');
  if (hub) hub.content.manifestHeaders = { 'ratelimit-limit': '100;w=21600', 'ratelimit-remaining': '37;w=21600' };
  const tokenFile = join(await temporaryDirectory(owner), 'token');
  await writeFile(tokenFile, token);
  const upstreams = Object.fromEntries([...registries].map(([name, { url }]) => [name, { url }]));
  const app = await startApp(
    {
      upstreams: { ...upstreams, 'registry.example.com:8443': { url: down.url } },
      storage: { maxSize: '160MiB' },
      management: { host: '127.0.0.1', port: 0, tokenFile },
    },
    { owner },
  );
  await useForADay(app, registries);
  for (const [name, mebibytes] of [
    ['library/postgres', 6],
    ['library/node', 9],
  ] as const) {
    if (hub) await startDownload(app, hub, { name, mebibytes });
  }
  await down.stop();
  await open(app, '/v2/acme/app/manifests/1?ns=registry.example.com:8443').then((answer) => answer.rest());
  const managementUrl = app.managementUrl;
  return { app, managementUrl };
}

/** A download that stops in the middle. */
async function startDownload(
  app: RunningApp,
  hub: FakeRegistry,
  { name, mebibytes }: { readonly name: string; readonly mebibytes: number },
): Promise<void> {
  const blob = randomBlob(mebibytes * mib, name);
  hub.content.addBlob(name, blob);
  const body = pump();
  hub.script({ path: new RegExp(blob.digest) }, { pump: body });
  body.release(4 * mib);
  const pulling = await open(app, `/v2/${name}/blobs/${blob.digest}`);
  await pulling.read(3 * mib);
}

async function useForADay(app: RunningApp, registries: ReadonlyMap<string, FakeRegistry>): Promise<void> {
  const pulls = images.flatMap(([registry, repository, tags, size]) =>
    tags.map((tag, place) => ({ registry, repository, tag, size, place })),
  );
  for (const { registry, repository, tag, size, place } of pulls) {
    const built = builtFor(`${repository}:${tag}`, size, place);
    const signed = [referrerOf(built.manifest), referrerOf(built.manifest, { artifactType: 'application/spdx+json' })];
    registries.get(registry)?.content.add(repository, tag, built, signed);
  }
  registries.get('ghcr.io')?.content.add(longest, 't'.repeat(128), image({ name: 'longest' }));
  for (let minute = 0; minute < 24 * 60; minute += 20) {
    const wave = Math.max(0, Math.sin((minute / 1440) * Math.PI * 3)) * 3 + (minute % 100 === 0 ? 4 : 1);
    for (let pull = 0; pull < wave; pull += 1) {
      const chosen = pulls[(minute / 20 + pull * 7) % pulls.length];
      if (!chosen) continue;
      const named = `${chosen.registry}/${chosen.repository}`;
      await pullAll(app, named, chosen.tag);
    }
    await fetch(`${app.managementUrl}/api/v1/stats/minutes`); // It counts when it is asked.
    app.clock.advance(20 * minuteMs);
  }
  await pullManifest(app, `ghcr.io/${longest}`, 't'.repeat(128));
  for (let minute = 0; minute < 60; minute += 1) {
    const chosen = pulls[(minute * 5) % pulls.length];
    if (chosen && (minute % 7 < 4 || minute > 50))
      await pullAll(app, `${chosen.registry}/${chosen.repository}`, chosen.tag);
    await fetch(`${app.managementUrl}/api/v1/stats/minutes`);
    app.clock.advance(minuteMs);
  }
  await app.quiet();
}

function builtFor(name: string, size: number, place: number): Image {
  if (place % 3 === 1) return multiPlatformImage(name);
  return size > 3 ? bigImage(size, name) : image({ name, layers: 2 + (size % 3), layerBytes: (size * mib) / 2 });
}
