import { expect, test } from 'vitest';
import { apiServerIn, askApiServer } from '../../../../src/commands/kubernetes/api-server.ts';
import { imagesOf, podImages } from '../../../../src/commands/kubernetes/pod-images.ts';
import { startApiServer } from '../../../support/fake-api-server.ts';
import { temporaryDirectory } from '../../../support/temp-directory.ts';

const never = new AbortController();

const pod = (image: string) => ({ spec: { containers: [{ image }] } });
const page = (images: readonly string[], next?: string) => ({
  items: images.map(pod),
  metadata: next === undefined ? {} : { continue: next },
});

test('all pages are read with the token, by the certificate authority of the cluster, and every image is named once', async () => {
  const { asked, server } = await startApiServer([
    page(['nginx:1', 'redis:7'], 'x/+='),
    page([], 'y'),
    page(['nginx:1', 'app']),
  ]);
  expect(await podImages(server, never)).toEqual(['nginx:1', 'redis:7', 'app']);
  expect(asked.map(({ query }) => query.get('continue'))).toEqual([null, 'x/+=', 'y']);
  expect(asked[0]).toMatchObject({ path: '/api/v1/pods', authorization: 'Bearer a-token' });
  expect(asked[0]?.query.get('limit')).toBe('100');
});

test('a list whose place has expired is read from its beginning, a few times', async () => {
  const { server } = await startApiServer([page(['old'], 'x'), 410, page(['new'])]);
  expect(await podImages(server, never)).toEqual(['new']);
  const expiring = await startApiServer([page([], 'x'), 410, page([], 'x'), 410, page([], 'x'), 410]);
  await expect(podImages(expiring.server, never)).rejects.toMatchObject({ status: 410 });
  expect(expiring.asked).toHaveLength(6);
});

test.each([[403], [401], [500], [307], ['no JSON'], [{ kind: 'Status' }]])(
  'an API server that answers %j is told, and its redirects are not followed',
  async (answer) => {
    const { asked, server } = await startApiServer([answer]);
    await expect(podImages(server, never)).rejects.toThrow(/the API server (?:answered \d+|sent no list)/);
    expect(asked).toHaveLength(1);
  },
);

test('a server with the certificate of another authority gets no token', async () => {
  const { asked, server } = await startApiServer([page(['nginx'])], { isTrusted: false });
  await expect(podImages(server, never)).rejects.toThrow('gives no answer');
  expect(asked).toEqual([]);
});

test('an answer that is too long is not kept, and a wait ends with its signal', async () => {
  const { server } = await startApiServer(['x'.repeat(2_000)]);
  const question = { path: '/', maxBytes: 1_000, signal: never.signal };
  await expect(askApiServer(server, question)).rejects.toThrow('more than 1000 bytes');
  const ended = AbortSignal.abort(new Error('ended'));
  await expect(podImages(server, { signal: ended })).rejects.toThrow('ended');
});

test('without a token, nothing is asked', async () => {
  const { asked, server } = await startApiServer([page([])]);
  const accountFolder = await temporaryDirectory();
  await expect(podImages({ ...server, accountFolder }, never)).rejects.toThrow('the service account has no');
  expect(asked).toEqual([]);
});

test('outside of a cluster there is no API server', () => {
  expect(apiServerIn({})).toBeUndefined();
  expect(apiServerIn({ KUBERNETES_SERVICE_HOST: '10.96.0.1' })?.url).toBe('https://10.96.0.1:443');
  expect(apiServerIn({ KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' })?.url).toBe(
    'https://[fd00::1]:6443',
  );
});

test('the images of a pod are those of all its containers, and the digests that run', () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  const spec = {
    initContainers: [{ image: 'init:1' }],
    containers: [{ image: 'app:1' }, { image: digest }],
    ephemeralContainers: [{ image: 'debug:1' }],
  };
  const status = {
    initContainerStatuses: [{ imageID: digest }],
    containerStatuses: [
      { imageID: `docker.io/library/app@${digest}` },
      { imageID: `docker-pullable://quay.io/x/y@${digest}` },
      { imageID: `docker://${digest}` },
      { imageID: 'a'.repeat(64) },
      { imageID: '' },
    ],
    ephemeralContainerStatuses: [null, {}],
  };
  expect(imagesOf({ spec, status })).toEqual([
    'init:1',
    'app:1',
    'debug:1',
    `docker.io/library/app@${digest}`,
    `quay.io/x/y@${digest}`,
  ]);
  for (const odd of [null, 1, {}, { spec: 1 }, { spec: { containers: {} } }]) expect(imagesOf(odd)).toEqual([]);
});
