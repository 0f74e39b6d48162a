import { setTimeout as sleep } from 'node:timers/promises';
import { clientKinds, type DrivenClient, drivenClients } from '../../clients/kinds.ts';
import { tags as tagsSchema } from '../../http/management/api/catalogue-routes.ts';
import { requests as requestsSchema, type Requests } from '../../http/management/api/requests-routes.ts';
import { isDigest } from '../../oci/digest.ts';
import { type ImageName, imageText, parseImageName } from '../../oci/image-name.ts';
import { answerAs, type Api, apiOf, exitCodeOf, exitCodes, failure, type Output, printable } from '../api/client.ts';
import { adviceFor } from './advice.ts';
import type { ReachedMirrorChoice } from './reached-mirror.ts';
import { pullBy, type PullResult } from './run-client.ts';

export interface TestClientOptions extends ReachedMirrorChoice, Output {
  /** All that are installed, if none is named. */
  readonly clients: readonly DrivenClient[];
  /** What is pulled; by default the smallest that is cached. */
  readonly image?: string | undefined;
  readonly folder?: string | undefined;
  readonly root: string;
  readonly json: boolean;
  readonly withinMs: number;
  /** How long the request is looked for after the pull; for tests. */
  readonly looksOnForMs?: number;
}

type SeenRequest = Requests['items'][number];

/** What became of the pull of one client. */
interface Tested {
  readonly client: DrivenClient;
  readonly image: string;
  readonly result: PullResult;
  /** The requests for the image that the mirror has answered meanwhile. */
  readonly seen: readonly SeenRequest[];
  /** More requests came than the mirror remembers. */
  readonly isUncertain: boolean;
}

/**
 * Pulls an image through clients of this machine, and looks whether the mirror was asked for it.
 * @returns the exit code: 0 if every client pulled through the mirror.
 * @throws ConfigError when the configuration does not say where the mirror is.
 */
export function testClients(options: TestClientOptions): Promise<number> {
  const { clients, json, print, printError } = options;
  return exitCodeOf(async () => {
    const api = await apiOf(options);
    const wanted = clients.length > 0 ? clients : drivenClients;
    const tested: Tested[] = [];
    for (const client of wanted) {
      const one = await testClient(client, api, options);
      if (clients.length === 0 && one.result.kind === 'not-installed') continue;
      tested.push(one);
      if (!json) (isProven(one) ? print : printError)(printable(`${client}: ${await wordsFor(one, options)}\n`));
    }
    if (tested.length === 0) throw failure(`no client is installed here: ${drivenClients.join(', ')}`);
    if (json)
      print(`${JSON.stringify({ clients: await Promise.all(tested.map((one) => inJson(one, options))) }, null, 2)}\n`);
    return tested.every(isProven) ? exitCodes.done : exitCodes.failed;
  }, options);
}

async function testClient(client: DrivenClient, api: Api, options: TestClientOptions): Promise<Tested> {
  const name = await imageFor(client, api, options);
  const image = imageText(name);
  const { recorded: before } = await requestsFor(api, name);
  const { root, env, folder = clientKinds.containerd.folder, withinMs } = options;
  const signal = AbortSignal.timeout(withinMs);
  const pull = pullBy({ client, image, env, signal, hostsFolder: root === '/' ? folder : root + folder });
  return {
    client,
    image,
    ...(await watched(pull, api, { name, before, looksOnForMs: options.looksOnForMs ?? looksOnForMs })),
  };
}

/** @throws ApiFailure where no image can be pulled by this client. */
async function imageFor(client: DrivenClient, api: Api, { image }: TestClientOptions): Promise<ImageName> {
  const name = image === undefined ? await smallestCached(api, client) : parseImageName(image);
  if (typeof name === 'string') throw failure(`${image}: ${name}`);
  if (client === 'docker' && name.registry !== 'docker.io')
    throw failure(`dockerd uses mirrors for Docker Hub only: ${imageText(name)} is not from there`);
  return name;
}

async function smallestCached(api: Api, client: DrivenClient): Promise<ImageName> {
  const registry = client === 'docker' ? '&registry=docker.io' : '';
  const { items } = answerAs(tagsSchema, await api(`tags?sort=size&order=asc&limit=1000${registry}`));
  const tag = items.find((one) => one.isStored && isDigest(one.digest));
  // dockerd asks nobody for a digest that it has.
  const name = tag && parseImageName(client === 'docker' ? `${tag.name}:${tag.tag}` : `${tag.name}@${tag.digest}`);
  if (name === undefined || typeof name === 'string')
    throw failure(`nothing is cached${client === 'docker' ? ' of docker.io' : ''}: name an image with --image`);
  return name;
}

async function requestsFor(api: Api, { reference }: ImageName): Promise<Requests> {
  return answerAs(requestsSchema, await api(`requests?limit=1000&reference=${encodeURIComponent(reference)}`));
}

const looksEveryMs = 200;
/** A request is recorded when its answer has ended. */
const looksOnForMs = 1_000;
/** So many requests are remembered. */
const remembered = 1_000;

/** Looks while the pull runs, since on a busy mirror its requests are soon forgotten. */
async function watched(
  pull: Promise<PullResult>,
  api: Api,
  asked: { readonly name: ImageName; readonly before: number; readonly looksOnForMs: number },
): Promise<Pick<Tested, 'result' | 'seen' | 'isUncertain'>> {
  const { name, before } = asked;
  let ended: { readonly result: PullResult; readonly atMs: number } | undefined;
  const end = pull.then((result) => (ended = { result, atMs: Date.now() }));
  end.catch(() => {}); // Awaited below, unless the mirror fails first.
  let [last, isUncertain] = [before, false];
  for (;;) {
    const { recorded, items } = await requestsFor(api, name);
    isUncertain ||= recorded - last > remembered;
    last = recorded;
    const seen = items.filter((one) => one.number > before && isFor(one, name));
    const isOver =
      ended !== undefined && (ended.result.kind === 'not-installed' || Date.now() - ended.atMs > asked.looksOnForMs);
    if (seen.length > 0 || isOver) return { result: (await end).result, seen, isUncertain };
    await Promise.race([sleep(looksEveryMs), ended === undefined ? end : sleep(looksEveryMs)]);
  }
}

function isFor({ upstream, repository }: SeenRequest, name: ImageName): boolean {
  return upstream === name.registry && repository === name.repository;
}

function isProven({ result, seen }: Tested): boolean {
  return result.kind === 'pulled' && seen.length > 0;
}

async function wordsFor(tested: Tested, options: TestClientOptions): Promise<string> {
  const { client, image, result, seen, isUncertain } = tested;
  if (result.kind === 'not-installed') return `${result.program} is not installed here`;
  const asked = seen.map(
    ({ method, kind, status, cache, client: from }) => `${method} ${kind}: ${status}, ${cache}, for ${from}`,
  );
  const failed =
    result.kind === 'failed'
      ? `${result.program} could not pull ${image}:\n  ${result.reason.replaceAll('\n', '\n  ')}`
      : '';
  if (seen.length > 0) {
    return failed === ''
      ? `pulls through the mirror: it was asked for ${image} (${asked.at(-1)})`
      : `asks the mirror (${asked.at(-1)}), but ${failed}`;
  }
  if (isUncertain) return 'the mirror has so many requests that those of this client may have been missed: try again';
  const isKnown = client === 'docker' && result.kind === 'pulled' && image.includes('@');
  const reasons = isKnown ? ['dockerd asks nobody for a digest that it has: try a tag'] : [];
  const advice = [...reasons, ...(await adviceFor(client, options))].map((line) => `\n  ${line}`).join('');
  return `${failed === '' ? `pulled ${image}, but not through this mirror` : `does not ask this mirror; ${failed}`}${advice}`;
}

async function inJson(tested: Tested, options: TestClientOptions) {
  const { client, image, result, seen } = tested;
  const isThrough = isProven(tested);
  return {
    client,
    image,
    isThrough,
    program: result.program,
    seen,
    ...(!isThrough && { problem: await wordsFor(tested, options) }),
  };
}
