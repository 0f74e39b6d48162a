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
const named = (count: number) => Array.from({ length: count }, (_, index) => `file-${String(index).padStart(4, '0')}`);
const files = named(40);
/** Far apart from each other in the layer. */
const changed = new Set(['file-0007', 'file-0020', 'file-0033']);

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

/** Publishes an image of one zstd:chunked layer with these files, as a user of podman would. */
async function publish(podman: Call, { host }: DockerRegistry, tag: string, contents: ReadonlyMap<string, Buffer>) {
  const context = await temporaryDirectory();
  await mkdir(join(context, 'files'));
  for (const [file, bytes] of contents) await writeFile(join(context, 'files', file), bytes);
  await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nCOPY files /files\n');
  await podman('build', '--quiet', '--tag', `localhost/app:${tag}`, context);
  const to = `docker://${host}/${repository}:${tag}`;
  await podman('push', '--tls-verify=false', '--compression-format', 'zstd:chunked', `localhost/app:${tag}`, to);
}

/** Of each file so many incompressible bytes, which are other ones where it has changed. */
function contentsOf(
  names: readonly string[],
  hasChanged: (file: string) => boolean = () => false,
  bytes = fileBytes,
): ReadonlyMap<string, Buffer> {
  return new Map(names.map((file) => [file, randomBytes(bytes, hasChanged(file) ? `new ${file}` : file)]));
}

const suite = (): void => {
  test('a layer that is not cached costs the registry one download of it', async () => {
    const upstream = await startDockerRegistry();
    const mirror = await startMirror(mirrorOf(upstream));
    const builder = await partialPodman();
    await publish(builder, upstream, '1', contentsOf(files));
    await publish(
      builder,
      upstream,
      '2',
      contentsOf(files, (file) => changed.has(file)),
    );
    await upstream.forgetSeen();

    const podman = await partialPodman();
    for (const tag of ['1', '2']) await podman('pull', '--tls-verify=false', `${mirror.host}/${repository}:${tag}`);
    expect(new Set((await upstream.downloads()).values())).toEqual(new Set([1]));
  });

  test('podman asks for fewer ranges when it asked for too many, and does without the whole layer', async () => {
    const upstream = await startDockerRegistry();
    const mirror = await startMirror(mirrorOf(upstream));
    const builder = await partialPodman();
    const many = named(2_024);
    // 1,012 ranges, which podman asks for at once.
    const isOdd = (file: string) => /[13579]$/.test(file);
    await publish(
      builder,
      upstream,
      '1',
      contentsOf(many, () => false, 2_000),
    );
    await publish(builder, upstream, '2', contentsOf(many, isOdd, 2_000));
    for (const tag of ['1', '2']) await pullAll(mirror, repository, tag);
    await expect.poll(async () => (await mirror.metrics()).sum('layerwell_cache_fills_in_flight')).toBe(0);

    const podman = await partialPodman();
    await podman('pull', '--tls-verify=false', `${mirror.host}/${repository}:1`);
    await podman('pull', '--tls-verify=false', `${mirror.host}/${repository}:2`);
    const answered = async (code: string) =>
      (await mirror.metrics()).sum('layerwell_http_requests_total', { kind: 'blob', method: 'GET', code });
    expect(await answered('400')).toBe(1);
    expect(await answered('206')).toBeGreaterThanOrEqual(4);
  });

  test('pulling a layer of which most files are there costs little more than from the registry itself', async () => {
    const upstream = await startDockerRegistry();
    const mirror = await startMirror(mirrorOf(upstream));
    const builder = await partialPodman();
    await publish(builder, upstream, '1', contentsOf(files));
    await publish(
      builder,
      upstream,
      '2',
      contentsOf(files, (file) => changed.has(file)),
    );
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
