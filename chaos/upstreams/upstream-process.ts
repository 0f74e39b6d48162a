import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type Answer, type Fault, sendAnswer } from '../../test/support/fake-answer.ts';
import { FakeContent, jsonAnswer } from '../../test/support/fake-content.ts';
import { Dice } from '../dice.ts';
import { movingTag, type PublishedImage, worldOf } from '../world.ts';
import { faultOf, strikes } from './faults.ts';
import { noFaults, isFaultPlan, type FaultPlan, type UpstreamReport } from './messages.ts';

// A registry in its own process, which can be killed and frozen. Its parent sets its faults, and is told of each.

const [name = '', port = '', seed = '', life = ''] = process.argv.slice(2);
/** The moving tag moves after this many requests. */
const movesEvery = 40;

function contentOf(images: readonly PublishedImage[]): FakeContent {
  const content = new FakeContent({});
  for (const { repository, tag, image } of images) content.add(repository, tag, image);
  return content;
}

/** Moves the tag of every repository to another of its images. */
function moveTags(content: FakeContent, images: readonly PublishedImage[], dice: Dice): void {
  for (const [repository, inIt] of Map.groupBy(images, (published) => published.repository)) {
    content.tag(repository, movingTag, dice.pick(inIt).image.manifest.digest);
  }
}

function report(message: UpstreamReport): void {
  if (process.connected) process.send?.(message);
}

function honestAnswer(content: FakeContent, request: IncomingMessage, { pathname, searchParams }: URL): Answer {
  if (pathname === '/v2/') return jsonAnswer({});
  const [, repository = '', kind = '', reference = ''] =
    /^\/v2\/(.+)\/(manifests|blobs|referrers|tags)\/([^/]+)$/.exec(pathname) ?? [];
  return content.answer({ repository, kind, reference, query: searchParams, range: request.headers.range });
}

async function serve(): Promise<void> {
  const images = worldOf(seed).filter(({ upstream }) => upstream === name);
  const content = contentOf(images);
  const dice = new Dice(`${seed}/${name}/life ${life}`);
  let plan: FaultPlan = noFaults;
  let requests = 0;
  moveTags(content, images, dice);
  const faultFor = (honest: Answer, method: string | undefined): Fault => {
    if (plan.kinds.length === 0 || honest.body.length === 0 || !dice.isLucky(plan.rate)) return {};
    const kind = dice.pick(plan.kinds);
    if (!strikes(kind, method)) return {};
    report(kind);
    return faultOf(kind, honest, dice);
  };
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const url = new URL(request.url ?? '/', 'http://upstream.test');
    const honest = honestAnswer(content, request, url);
    requests += 1;
    if (requests % movesEvery === 0) moveTags(content, images, dice);
    response.on('error', () => {}); // The other side has closed.
    void sendAnswer({ request, response, path: url.pathname }, honest, faultFor(honest, request.method), () => {});
  };
  process.on('message', (message) => {
    if (isFaultPlan(message)) plan = message;
  });
  process.once('disconnect', () => process.exit());
  await once(createServer({ keepAliveTimeout: 60_000 }, answer).listen(Number(port), '127.0.0.1'), 'listening');
  report('ready');
}

await serve();
