import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.ts';
import { randomBytes } from '../support/images.ts';
import { run } from '../support/processes.ts';
import { pullAll } from '../support/pull.ts';
import { mirrorOf, startMirror } from '../support/start-mirror.ts';
import { temporaryDirectory } from '../support/temp-directory.ts';
import { describeWithTools, tool } from '../support/tools.ts';

const repository = 'library/app';
const fileBytes = 200_000;
const files = Array.from({ length: 40 }, (_, index) => `file-${index}`);
/** Far apart from each other in the layer. */
const changed = new Set(['file-7', 'file-20', 'file-33']);

type Call = (...args: string[]) => Promise<{ readonly stdout: string }>;

/** podman with a store of its own, which fetches of a zstd:chunked layer only the files that it does not have. */
async function partialPodman(): Promise<Call> {
  const directory = await temporaryDirectory();
  const root = join(directory, 'root');
  const policy = join(directory, 'policy.json');
  const settings = join(directory, 'storage.conf');
  await writeFile(policy, JSON.stringify({ default: [{ type: 'insecureAcceptAnything' }] }));
  await writeFile(
    settings,
    `
[storage]
driver = "overlay"
graphroot = "${root}"
runroot = "${join(directory, 'run')}"
[storage.options]
pull_options = {enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}
`,
  );
  await mkdir(join(directory, 'tmp'));
  const env = { CONTAINERS_STORAGE_CONF: settings, TMPDIR: join(directory, 'tmp') };
  onTestFinished(async () => {
    await run('umount', ['--lazy', join(root, 'overlay')]).catch(() => {}); // Where podman has left it mounted.
  });
  return (command, ...args) => run(tool('podman'), [command, '--signature-policy', policy, ...args], { env });
}

/** Publishes an image of one zstd:chunked layer with all files, as a user of podman would. */
async function publish(podman: Call, { host }: DockerRegistry, tag: string, contentOf: (file: string) => Buffer) {
  const context = await temporaryDirectory();
  await mkdir(join(context, 'files'));
  for (const file of files) await writeFile(join(context, 'files', file), contentOf(file));
  await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nCOPY files /files\n');
  await podman('build', '--quiet', '--tag', `localhost/app:${tag}`, context);
  const to = `docker://${host}/${repository}:${tag}`;
  await podman('push', '--tls-verify=false', '--compression-format', 'zstd:chunked', `localhost/app:${tag}`, to);
}

const suite = (): void => {
  test('pulling a layer of which most files are there costs little more than from the registry itself', async () => {
    const upstream = await startDockerRegistry();
    const mirror = await startMirror(mirrorOf(upstream));
    const builder = await partialPodman();
    await publish(builder, upstream, '1', (file) => randomBytes(fileBytes, file));
    await publish(builder, upstream, '2', (file) => randomBytes(fileBytes, changed.has(file) ? `new ${file}` : file));
    for (const tag of ['1', '2']) await pullAll(mirror, repository, tag);
    await expect.poll(async () => (await mirror.metrics()).sum('layerwell_cache_fills_in_flight')).toBe(0);

    const direct = await partialPodman();
    await direct('pull', '--tls-verify=false', `${upstream.host}/${repository}:1`);
    await upstream.forgetSeen();
    await direct('pull', '--tls-verify=false', `${upstream.host}/${repository}:2`);
    const directBytes = (await upstream.seen()).reduce((sum, { sentBytes }) => sum + sentBytes, 0);
    expect(directBytes).toBeLessThan(5 * fileBytes); // Or it was no partial pull, and says nothing.

    await upstream.forgetSeen();
    const mirrored = await partialPodman();
    const sentBytes = async () => (await mirror.metrics()).sum('layerwell_http_response_bytes_total');
    await mirrored('pull', '--tls-verify=false', `${mirror.host}/${repository}:1`);
    const before = await sentBytes();
    await mirrored('pull', '--tls-verify=false', `${mirror.host}/${repository}:2`);
    expect((await sentBytes()) - before).toBeLessThanOrEqual(1.2 * directBytes);
    expect((await upstream.seen()).filter(({ path }) => path.includes('/blobs/'))).toEqual([]);
  });
};

describeWithTools(['podman', 'docker-registry'], 'podman with zstd:chunked', suite, { asRoot: true });
