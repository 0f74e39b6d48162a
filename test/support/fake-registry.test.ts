import { expect, test } from 'vitest';
import { digestOf } from '../../src/oci/digest.ts';
import { pump } from './fake-answer.ts';
import { startFakeRegistry } from './fake-registry.ts';
import { gate } from './gate.ts';
import { image, multiPlatformImage, randomBlob, referrerOf } from './images.ts';

test('a registry serves its content and counts its requests', async () => {
  const registry = await startFakeRegistry();
  const held = multiPlatformImage();
  registry.content.add('library/app', '1', held);
  const answer = await fetch(`${registry.url}/v2/library/app/manifests/1`);
  expect(answer.headers.get('docker-content-digest')).toBe(held.manifest.digest);
  expect(digestOf(Buffer.from(await answer.arrayBuffer()))).toBe(held.manifest.digest);
  expect(registry.count('GET', /\/manifests\//)).toBe(1);
  expect(registry.count('GET', /\/blobs\//)).toBe(0);
});

test('a body that is held and then cut breaks the connection after the given bytes', async () => {
  const registry = await startFakeRegistry();
  const blob = randomBlob(300_000);
  registry.content.addBlob('app', blob);
  const door = gate();
  registry.script({ path: /\/blobs\// }, { holdBody: { afterBytes: 100_000, until: door }, cutAfterBytes: 200_000 });
  const answer = await fetch(`${registry.url}/v2/app/blobs/${blob.digest}`);
  const reader = answer.body?.getReader();
  let received = 0;
  while (received < 100_000) received += (await reader?.read())?.value?.length ?? 0;
  expect(received).toBe(100_000);
  door.open();
  const rest = async (): Promise<void> => {
    for (;;) received += (await reader?.read())?.value?.length ?? 0;
  };
  await expect(rest()).rejects.toThrow('terminated');
  expect(received).toBe(200_000);
});

test('a paced body sends as far as it is allowed to', async () => {
  const registry = await startFakeRegistry();
  const blob = randomBlob(1_000);
  registry.content.addBlob('app', blob);
  const flow = pump();
  registry.script({ path: /\/blobs\// }, { pump: flow });
  flow.release(10);
  const answer = await fetch(`${registry.url}/v2/app/blobs/${blob.digest}`);
  const reader = answer.body?.getReader();
  expect((await reader?.read())?.value?.length).toBe(10);
  flow.release(990);
  expect((await reader?.read())?.value?.length).toBe(990);
});

test('a registry with tokens rejects requests without one, and requests for private content', async () => {
  const auth = { kind: 'bearer', username: 'u', password: 'p', privateRepositories: ['secret'] } as const;
  const registry = await startFakeRegistry({ auth });
  registry.content.add('open', '1', image());
  registry.content.add('secret', '1', image());
  const get = async (repository: string, credentials?: string) => {
    const path = `${registry.url}/token?service=fake&scope=repository:${repository}:pull`;
    const issued = await fetch(path, credentials ? { headers: { authorization: `Basic ${btoa(credentials)}` } } : {});
    if (!issued.ok) return issued.status;
    const [, token] = /"token":"([^"]+)"/.exec(await issued.text()) ?? [];
    const headers = { authorization: `Bearer ${token}` };
    return (await fetch(`${registry.url}/v2/${repository}/manifests/1`, { headers })).status;
  };
  expect((await fetch(`${registry.url}/v2/open/manifests/1`)).status).toBe(401);
  expect(await get('open')).toBe(200);
  expect(await get('secret')).toBe(401);
  expect(await get('secret', 'u:wrong')).toBe(401);
  expect(await get('secret', 'u:p')).toBe(200);
  expect(registry.count('GET', /^\/token$/)).toBe(4);
});

test('referrers are found by the API, and without it by the fallback tag', async () => {
  const subject = image();
  const signature = referrerOf(subject.manifest);
  const modern = await startFakeRegistry();
  const plain = await startFakeRegistry({ referrersApi: false });
  for (const registry of [modern, plain]) registry.content.add('app', '1', subject, [signature]);
  const listed = await fetch(`${modern.url}/v2/app/referrers/${subject.manifest.digest}`);
  expect(await listed.json()).toMatchObject({ manifests: [{ digest: signature.manifest.digest }] });
  expect((await fetch(`${plain.url}/v2/app/referrers/${subject.manifest.digest}`)).status).toBe(404);
  const tag = subject.manifest.digest.replace(':', '-');
  expect((await fetch(`${plain.url}/v2/app/manifests/${tag}`)).status).toBe(200);
});

test('a stopped registry comes back at the same address, with its content', async () => {
  const registry = await startFakeRegistry();
  registry.content.add('app', '1', image());
  await registry.stop();
  await expect(fetch(`${registry.url}/v2/app/manifests/1`)).rejects.toThrow('fetch failed');
  await registry.start();
  expect((await fetch(`${registry.url}/v2/app/manifests/1`)).status).toBe(200);
});
