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

type Call = (...args: string[]) => Promise<{ readonly stdout: string; readonly stderr: string }>;

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
  hasChanged: (file: string) => boolean,
  bytes: number,
): ReadonlyMap<string, Buffer> {
  return new Map(names.map((file) => [file, randomBytes(bytes, hasChanged(file) ? `new ${file}` : file)]));
}

/** A registry with two images, the second of which has other files where `hasChanged` says so, and a mirror of it. */
async function startWithTwo(names: readonly string[], hasChanged: (file: string) => boolean, bytes = fileBytes) {
  const upstream = await startDockerRegistry();
  const mirror = await startMirror(mirrorOf(upstream));
  const builder = await partialPodman();
  await publish(
    builder,
    upstream,
    '1',
    contentsOf(names, () => false, bytes),
  );
  await publish(builder, upstream, '2', contentsOf(names, hasChanged, bytes));
  return { upstream, mirror };
}

type Started = Awaited<ReturnType<typeof startWithTwo>>;

/** Both images are stored. */
async function fillWithBoth(mirror: Started['mirror']): Promise<void> {
  for (const tag of ['1', '2']) await pullAll(mirror, repository, tag);
  await expect.poll(async () => (await mirror.metrics()).sum('layerwell_cache_fills_in_flight')).toBe(0);
}

/** podman cannot always write what it got of a layer ("chmod …: bad file descriptor"): then it takes all of it, from whomever it pulls. */
const podmansOwnFailure = 'Failed to retrieve partial blob: chmod';

/** What a podman that has the first image is sent when it pulls the second one. Another one does it again after podman's own failure. */
async function bytesOfSecondPull(host: string, sentBytes: () => Promise<number>): Promise<number> {
  for (let pull = 1; pull <= 5; pull += 1) {
    const podman = await partialPodman();
    await podman('pull', '--tls-verify=false', `${host}/${repository}:1`);
    const before = await sentBytes();
    const { stderr } = await podman('pull', '--log-level', 'debug', '--tls-verify=false', `${host}/${repository}:2`);
    const sinceThen = async () => (await sentBytes()) - before;
    // The last answer may be counted after podman has ended.
    await expect.poll(sinceThen, { timeout: 10_000 }).toBeGreaterThanOrEqual(changed.size * fileBytes);
    if (!stderr.includes(podmansOwnFailure)) return sinceThen();
  }
  throw new Error('podman has failed five times by itself');
}

/** What that costs the registry when podman pulls from it. */
async function directBytes({ upstream }: Pick<Started, 'upstream'>): Promise<number> {
  const sentBytes = async () => (await upstream.seen()).reduce((sum, one) => sum + one.sentBytes, 0);
  const bytes = await bytesOfSecondPull(upstream.host, sentBytes);
  expect(bytes).toBeLessThan(5 * fileBytes); // Or it was no partial pull, and says nothing.
  await upstream.forgetSeen();
  return bytes;
}

/** What the mirror sends when podman pulls from it. */
function mirroredBytes({ mirror }: Pick<Started, 'mirror'>): Promise<number> {
  return bytesOfSecondPull(mirror.host, async () => {
    // What an answer sent is counted when it has ended, which may be after podman.
    await expect.poll(async () => (await mirror.metrics()).sum('layerwell_http_requests_in_flight')).toBe(0);
    return (await mirror.metrics()).sum('layerwell_http_response_bytes_total');
  });
}

const suite = (): void => {
  test('podman transfers little more of an uncached layer than from the registry itself, and the registry sends it once', async () => {
    const started = await startWithTwo(files, (file) => changed.has(file));
    const direct = await directBytes(started);
    expect(await mirroredBytes(started)).toBeLessThanOrEqual(1.2 * direct);
    expect(new Set((await started.upstream.downloads()).values())).toEqual(new Set([1]));
  });

  test('podman requests fewer ranges after it requested too many, and never the whole layer', async () => {
    // 1,012 ranges, which podman asks for at once.
    const { mirror } = await startWithTwo(named(2_024), (file) => /[13579]$/.test(file), 2_000);
    await fillWithBoth(mirror);

    const podman = await partialPodman();
    await podman('pull', '--tls-verify=false', `${mirror.host}/${repository}:1`);
    await podman('pull', '--tls-verify=false', `${mirror.host}/${repository}:2`);
    const answered = async (code: string) =>
      (await mirror.metrics()).sum('layerwell_http_requests_total', { kind: 'blob', method: 'GET', code });
    expect(await answered('400')).toBe(1);
    expect(await answered('206')).toBeGreaterThanOrEqual(4);
  });

  test('podman transfers little more of a layer whose files it mostly has than from the registry itself', async () => {
    const started = await startWithTwo(files, (file) => changed.has(file));
    await fillWithBoth(started.mirror);
    const direct = await directBytes(started);
    expect(await mirroredBytes(started)).toBeLessThanOrEqual(1.2 * direct);
    expect((await started.upstream.seen()).filter(({ path }) => path.includes('/blobs/'))).toEqual([]);
  });
};

describeWithTools(['podman', 'docker-registry'], 'podman with zstd:chunked', suite, { asRoot: true });
