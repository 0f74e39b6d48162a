// `helm test`: pulls an image by digest through every way in which a client names its registry, and verifies each byte.
// MIRROR and MANAGEMENT are URLs; IMAGE is such as registry.k8s.io/pause:3.10, or empty.
import { createHash } from 'node:crypto';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';

const { MIRROR = '', MANAGEMENT = '', IMAGE = '' } = process.env;
const manifestTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');
const maxManifestBytes = 4 * 1024 * 1024;

const { registry, repository, tag } = parsed(IMAGE);

/** How clients name a registry: containerd, dockerd and others. */
const ways = {
  '?ns=': (rest) => ({ path: `/v2/${repository}/${rest}?ns=${encodeURIComponent(registry)}` }),
  'the Host header': (rest) => ({ path: `/v2/${repository}/${rest}`, host: registry }),
  'the path': (rest) => ({ path: `/v2/${registry.replace(':', '_')}/${repository}/${rest}` }),
  'a path prefix': (rest) => ({ path: `/${registry.replace(':', '_')}/v2/${repository}/${rest}` }),
};

await retried(() => get(`${MANAGEMENT}/readyz`, {}));
console.log(`ready: ${MANAGEMENT}`);
if (IMAGE === '') console.log('tests.image is empty: nothing was pulled');
else await pullInEveryWay();

async function pullInEveryWay() {
  const named = await manifest('the path', `manifests/${tag}`);
  const platform =
    named.manifests?.find((each) => each.platform?.architecture === architecture()) ?? named.manifests?.[0];
  const chosen = platform === undefined ? named : await manifest('the path', `manifests/${platform.digest}`);
  const blobs = [chosen.config, ...(chosen.layers ?? []).slice(0, 1)];
  for (const way of Object.keys(ways)) {
    await manifest(way, `manifests/${chosen.digest}`);
    for (const { digest } of blobs) await verified(way, `blobs/${digest}`, digest);
    console.log(`pulled ${registry}/${repository}@${chosen.digest} by ${way}`);
  }
}

/** A manifest, with its digest. */
async function manifest(way, rest) {
  const expected = rest.slice('manifests/'.length);
  const { bytes, headers } = await verified(way, rest, expected.includes(':') ? expected : undefined);
  return { digest: headers['docker-content-digest'], ...JSON.parse(bytes.toString()) };
}

async function verified(way, rest, expectedDigest) {
  const { path, host } = ways[way](rest);
  const accept = rest.startsWith('manifests/') ? { accept: manifestTypes } : {};
  const answer = await get(`${MIRROR}${path}`, { ...accept, ...(host === undefined ? {} : { host }) });
  const digest = expectedDigest ?? answer.headers['docker-content-digest'];
  const actual = `${digest.split(':')[0]}:${answer.hash(digest.split(':')[0])}`;
  if (actual !== digest) throw new Error(`${path} by ${way}: expected ${digest}, got ${actual}`);
  return answer;
}

/** @throws unless the answer is 200. Bodies are hashed while they arrive; only small ones are kept. */
function get(url, headers) {
  // The certificate need not name the Service; the digest verifies what arrives.
  const [request, options] = url.startsWith('https:')
    ? [requestHttps, { headers, rejectUnauthorized: false }]
    : [requestHttp, { headers }];
  return new Promise((resolve, reject) => {
    const sent = request(url, options, async (response) => {
      try {
        const hashes = { sha256: createHash('sha256'), sha512: createHash('sha512') };
        const kept = [];
        let size = 0;
        for await (const chunk of response) {
          for (const hash of Object.values(hashes)) hash.update(chunk);
          size += chunk.length;
          if (size <= maxManifestBytes) kept.push(chunk);
        }
        const bytes = Buffer.concat(kept);
        if (response.statusCode !== 200) throw new Error(`${url}: ${response.statusCode} ${bytes.toString()}`);
        resolve({ bytes, headers: response.headers, hash: (algorithm) => hashes[algorithm].digest('hex') });
      } catch (error) {
        reject(error);
      }
    });
    sent.setTimeout(60_000, () => sent.destroy(new Error(`${url}: no answer within 60 s`)));
    sent.on('error', reject);
    sent.end();
  });
}

/** Right after an installation the name of the Service may not be known yet. */
async function retried(action, times = 10) {
  try {
    return await action();
  } catch (error) {
    if (times === 1) throw error;
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    return retried(action, times - 1);
  }
}

function architecture() {
  return { x64: 'amd64' }[process.arch] ?? process.arch;
}

function parsed(image) {
  const [, registry, repository, tag] = /^([^/]+)\/(.+):([^:/]+)$/.exec(image) ?? ['', '', '', ''];
  if (image !== '' && registry === '') throw new Error(`tests.image: expected registry/repository:tag, not ${image}`);
  return { registry, repository, tag };
}
