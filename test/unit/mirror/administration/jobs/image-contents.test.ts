import { expect, test } from 'vitest';
import {
  attestationsOf,
  chosenFrom,
  contentsOf,
  parsePlatform,
  platformText,
} from '../../../../../src/mirror/administration/jobs/image-contents.ts';
import { digestOf } from '../../../../../src/oci/digest.ts';

const digest = (name: string) => digestOf(Buffer.from(name));

function indexOf(manifests: readonly object[]) {
  const contents = contentsOf(Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));
  if (contents.kind !== 'index') throw new Error(contents.kind);
  return contents.manifests;
}

const listed = (name: string, platform?: object, more: object = {}) => ({
  digest: digest(name),
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  size: 1,
  ...(platform && { platform }),
  ...more,
});

const about = (name: string) => ({ annotations: { 'vnd.docker.reference.digest': digest(name) } });
const unknown = { os: 'unknown', architecture: 'unknown' };
const index = indexOf([
  listed('amd64', { os: 'linux', architecture: 'amd64' }),
  listed('v6', { os: 'linux', architecture: 'arm', variant: 'v6' }),
  listed('v7', { os: 'linux', architecture: 'arm', variant: 'v7' }),
  listed('arm64', { os: 'linux', architecture: 'arm64', variant: 'v8' }),
  listed('windows', { os: 'windows', architecture: 'amd64', 'os.version': '10.0' }),
  listed('attests amd64', unknown, about('amd64')),
  listed('attests arm64', unknown, about('arm64')),
]);

test.each([
  [['linux/amd64'], ['amd64'], []],
  [['linux/x86_64'], ['amd64'], []],
  [['linux/amd64/v1'], ['amd64'], []],
  [['linux/amd64/v3'], [], ['linux/amd64/v3']],
  [['linux/arm'], ['v6', 'v7'], []],
  [['linux/arm/v7'], ['v7'], []],
  [['linux/arm64', 'linux/s390x'], ['arm64'], ['linux/s390x']],
  [['linux/aarch64/v8'], ['arm64'], []],
  [['windows/amd64'], ['windows'], []],
])('of %j there are %j, and %j are missing', (wanted, names, missing) => {
  const chosen = chosenFrom(
    index,
    wanted.map((text) => parsePlatform(text) ?? { os: '', architecture: '', variant: undefined }),
  );
  expect(chosen.manifests.map((one) => one.digest)).toEqual(names.map(digest));
  expect(chosen.missing.map(platformText)).toEqual(missing);
});

test('all are those that are images; attestations belong to what they are about', () => {
  const { manifests, missing } = chosenFrom(index, 'all');
  expect(manifests).toHaveLength(5);
  expect(missing).toEqual([]);
  const amd64 = manifests.slice(0, 1);
  expect(attestationsOf(index, amd64)).toEqual([digest('attests amd64')]);
});

test('a manifest without a platform may be for any', () => {
  const list = indexOf([listed('any'), listed('odd', { os: 1 })]);
  expect(chosenFrom(list, [{ os: 'linux', architecture: 'amd64', variant: undefined }]).manifests).toHaveLength(2);
});

test.each(['', 'linux', 'linux/', '/amd64', 'Linux/amd64', 'linux/amd64/v1/x', 'linux/arm 64', 'all'])(
  '%j is no platform',
  (text) => expect(parsePlatform(text)).toBeUndefined(),
);

test('what is no JSON names nothing; more than 1 MiB or 1000 digests are too large', () => {
  const nothing = { kind: 'manifest', blobs: [], foreign: [] };
  for (const text of ['', 'x', '[]', '{}', '{"layers":1}', '{"layers":[1,null,{}]}'])
    expect(contentsOf(Buffer.from(text))).toEqual(nothing);
  expect(contentsOf(Buffer.alloc(1024 * 1024 + 1))).toEqual({ kind: 'too-large' });
  const layers = Array.from({ length: 1000 }, (_, nth) => listed(String(nth)));
  expect(contentsOf(Buffer.from(JSON.stringify({ layers })))).toEqual({ kind: 'too-large' });
});
