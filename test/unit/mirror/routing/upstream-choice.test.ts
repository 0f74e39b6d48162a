import { expect, test } from 'vitest';
import {
  chooseUpstream,
  type UpstreamChoiceDeps,
  type UpstreamHints,
} from '../../../../src/mirror/routing/upstream-choice.ts';
import { hostName } from '../../../support/host-name.ts';
import { upstreamNamed } from '../../../support/upstream-named.ts';

const hub = upstreamNamed('docker.io');
const ghcr = upstreamNamed('ghcr.io');
const known = new Map([
  ['docker.io', hub],
  ['index.docker.io', hub],
  ['ghcr.io', ghcr],
  ['registry.test:8443', upstreamNamed('registry.test:8443')],
]);
const deps = { upstreams: { find: (name: string) => known.get(name) }, defaultUpstream: hub };

/** As {@link UpstreamHints}, but not parsed. */
type HintTexts = { readonly [Key in keyof UpstreamHints]?: string } & Pick<UpstreamHints, 'name'>;

function choose({ name, ...texts }: HintTexts, among: UpstreamChoiceDeps = deps): string {
  const named = (text: string | undefined) => (text === undefined ? undefined : hostName(text));
  const hints = {
    name,
    namespace: named(texts.namespace),
    host: named(texts.host),
    pathPrefix: named(texts.pathPrefix),
  };
  const { upstream, repository } = chooseUpstream(hints, among);
  return `${upstream.name} ${repository}`;
}

test.each([
  { hints: { name: 'app' }, expected: 'docker.io library/app' },
  { hints: { name: 'org/app' }, expected: 'docker.io org/app' },
  { hints: { name: 'org/app', namespace: 'ghcr.io' }, expected: 'ghcr.io org/app' },
  { hints: { name: 'app', namespace: 'ghcr.io' }, expected: 'ghcr.io app' },
  { hints: { name: 'app', namespace: 'index.docker.io' }, expected: 'docker.io library/app' },
  { hints: { name: 'org/app', host: 'ghcr.io' }, expected: 'ghcr.io org/app' },
  { hints: { name: 'org/app', host: 'mirror.internal' }, expected: 'docker.io org/app' },
  { hints: { name: 'org/app', pathPrefix: 'ghcr.io' }, expected: 'ghcr.io org/app' },
  { hints: { name: 'ghcr.io/org/app' }, expected: 'ghcr.io org/app' },
  { hints: { name: 'index.docker.io/app' }, expected: 'docker.io library/app' },
  { hints: { name: 'ghcr.io' }, expected: 'docker.io library/ghcr.io' },
  { hints: { name: 'ghcr.io/org/app', namespace: 'ghcr.io' }, expected: 'ghcr.io org/app' },
  { hints: { name: 'index.docker.io/app', namespace: 'docker.io' }, expected: 'docker.io library/app' },
  { hints: { name: 'ghcr.io/ghcr.io/app', namespace: 'ghcr.io' }, expected: 'ghcr.io ghcr.io/app' },
  { hints: { name: 'ghcr.io/org/app', namespace: 'docker.io' }, expected: 'docker.io ghcr.io/org/app' },
  { hints: { name: 'ghcr.io', namespace: 'ghcr.io' }, expected: 'ghcr.io ghcr.io' },
  { hints: { name: 'a/b', namespace: 'ghcr.io', host: 'docker.io', pathPrefix: 'docker.io' }, expected: 'ghcr.io a/b' },
  { hints: { name: 'a/b', host: 'ghcr.io', pathPrefix: 'docker.io' }, expected: 'ghcr.io a/b' },
  { hints: { name: 'registry.test:8443/org/app' }, expected: 'registry.test:8443 org/app' },
  { hints: { name: 'registry.test_8443/org/app' }, expected: 'registry.test:8443 org/app' },
  { hints: { name: 'registry.test_8443_/org/app' }, expected: 'registry.test:8443 org/app' },
  { hints: { name: 'team_8443/app' }, expected: 'docker.io team_8443/app' },
  { hints: { name: 'unknown.test/org/app', namespace: 'docker.io' }, expected: 'docker.io unknown.test/org/app' },
  { hints: { name: 'unknown.test' }, expected: 'docker.io library/unknown.test' },
])('$hints → $expected', ({ hints, expected }) => {
  expect(choose(hints)).toBe(expected);
});

test.each([
  { hints: { name: 'org/app', namespace: 'evil.test' }, code: 'NAME_UNKNOWN' },
  { hints: { name: 'org/app', pathPrefix: 'evil.test' }, code: 'NAME_UNKNOWN' },
  { hints: { name: 'unknown.test/org/app' }, code: 'NAME_UNKNOWN' },
  { hints: { name: 'localhost:5000/app' }, code: 'NAME_UNKNOWN' },
  { hints: { name: 'registry.test_8444/app' }, code: 'NAME_UNKNOWN' },
  { hints: { name: 'ORG/app' }, code: 'NAME_INVALID' },
  { hints: { name: 'App' }, code: 'NAME_INVALID' },
  { hints: { name: '../app' }, code: 'NAME_INVALID' },
  { hints: { name: '' }, code: 'NAME_INVALID' },
  { hints: { name: 'ghcr.io/' }, code: 'NAME_INVALID' },
  { hints: { name: 'ghcr.io/', namespace: 'ghcr.io' }, code: 'NAME_INVALID' },
  { hints: { name: 'a'.repeat(250) }, code: 'NAME_INVALID' },
])('$hints is rejected with $code', ({ hints, code }) => {
  expect(() => choose(hints)).toThrow(expect.objectContaining({ code }));
});

test.each([
  { hints: { name: 'quay.io/org/app' }, key: 'quay.io' },
  { hints: { name: 'org/app', namespace: 'quay.io' }, key: 'quay.io' },
  { hints: { name: 'org/app', pathPrefix: 'quay.io' }, key: 'quay.io' },
  { hints: { name: 'registry.test_8444/app' }, key: 'registry.test:8444' },
])('a registry that is not configured is rejected with the missing key: $hints', ({ hints, key }) => {
  expect(() => choose(hints)).toThrow(`upstreams has no key "${key}"`);
});

/** Beside docker.io, any host that is asked for. */
const withAnyHost = {
  upstreams: { find: (name: string) => known.get(name) ?? upstreamNamed(name, '**') },
  defaultUpstream: hub,
};

test.each([
  { hints: { name: 'org/app' }, expected: 'docker.io org/app' },
  { hints: { name: 'org/app', host: 'mirror.internal:5000' }, expected: 'docker.io org/app' },
  { hints: { name: 'org/app', host: 'ghcr.io' }, expected: 'ghcr.io org/app' },
  { hints: { name: 'quay.io/org/app' }, expected: 'quay.io org/app' },
  { hints: { name: 'localhost:5000/app' }, expected: 'localhost:5000 app' },
  { hints: { name: 'org/app', namespace: 'quay.io' }, expected: 'quay.io org/app' },
  { hints: { name: 'org/app', pathPrefix: 'quay.io' }, expected: 'quay.io org/app' },
])('when a pattern admits any host, $hints → $expected', ({ hints, expected }) => {
  expect(choose(hints, withAnyHost)).toBe(expected);
});
