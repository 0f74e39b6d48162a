import { describe, expect, test } from 'vitest';
import { mergedInto } from '../../../src/clients/merge.ts';

const mirror = 'http://127.0.0.1:5000';

function daemonJson(found: string | undefined, keys: object = { 'registry-mirrors': [mirror] }) {
  return mergedInto(found, { path: '/etc/docker/daemon.json', text: JSON.stringify(keys), fits: 'keys' });
}

describe('daemon.json', () => {
  test('keeps every byte of the rest', () => {
    const found = '{\n\t"log-driver" : "journald",   "live-restore":true,\n\t"hosts": [ "unix:///x" ]\n}\n';
    const merged = daemonJson(found);
    if (!('text' in merged)) throw new Error(merged.conflict);
    expect(merged.text).toContain('"log-driver" : "journald",   "live-restore":true,\n\t"hosts": [ "unix:///x" ]');
    expect(JSON.parse(merged.text)).toEqual({ ...JSON.parse(found), 'registry-mirrors': [mirror] });
    expect(merged.text).toContain('\n\t"registry-mirrors"');
  });

  test('asks this mirror before others, and is not changed a second time', () => {
    const merged = daemonJson('{"registry-mirrors": ["https://other.example"]}');
    if (!('text' in merged)) throw new Error(merged.conflict);
    expect(JSON.parse(merged.text)).toEqual({ 'registry-mirrors': [mirror, 'https://other.example'] });
    expect(daemonJson(merged.text)).toEqual(merged);
  });

  test('the address with a slash at its end is the same', () => {
    const found = `{"registry-mirrors": ["${mirror}/"]}`;
    expect(daemonJson(found)).toEqual({ text: found });
  });

  test('an empty file is none', () => {
    expect(daemonJson('\n')).toEqual(daemonJson(undefined));
  });

  test.each([
    ['{ "hosts": [ }', 'it is not a JSON object'],
    ['[]', 'it is not a JSON object'],
    ['{ "registry-mirrors": "https://other.example" }', 'its "registry-mirrors" is no list'],
    ['{ "registry-mirrors": [], "registry-mirrors": ["https://other.example"] }', 'it has a key twice'],
  ])('%s is not touched', (found, conflict) => {
    expect(daemonJson(found)).toEqual({ conflict });
  });
});

describe('buildkitd.toml and registries.yaml', () => {
  const section = (found: string | undefined, text: string) => mergedInto(found, { path: '/x', text, fits: 'section' });
  const toml = '[registry."docker.io"]\n  mirrors = ["127.0.0.1:5000"]\n';

  test('what they say of other things stays, and a second time nothing is added', () => {
    const found = 'debug = true\n[worker.oci]\n  enabled = false';
    const merged = section(found, toml);
    if (!('text' in merged)) throw new Error(merged.conflict);
    expect(merged.text.startsWith(`${found}\n\n# Written by`)).toBe(true);
    expect(merged.text.endsWith(toml)).toBe(true);
    expect(section(merged.text, toml)).toEqual(merged);
  });

  test.each([
    '[registry."docker.io"]\n  mirrors = ["other"]\n',
    '[ registry . "docker.io" ]\n',
    '["registry"."docker.io"]\n',
    'registry."docker.io".http = true\n',
    'registry = { "docker.io" = { http = true } }\n',
    'mirrors:\n  docker.io: {}\n',
    '"configs":\n  x: {}\n',
    '{ mirrors: {} }\n',
    '---\nsystem-default-registry: x\n',
  ])('%j has entries already, or is not of plain sections: it is not touched', (found) => {
    expect(section(found, toml)).toEqual({ conflict: 'it has entries for registries already' });
  });
});

test('a file that is wholly ours does not go into another one', () => {
  const file = { path: '/x/hosts.toml', text: '[host."x"]\n', fits: 'own' } as const;
  expect(mergedInto('server = "x"\n', file)).toEqual({ conflict: 'there is another file already' });
  const merged = mergedInto(undefined, file);
  if (!('text' in merged)) throw new Error(merged.conflict);
  expect(mergedInto(merged.text, file)).toEqual(merged);
});
