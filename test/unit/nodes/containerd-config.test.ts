import { expect, test } from 'vitest';
import { folderUse, importsIn } from '../../../src/nodes/containerd-config.ts';

const folder = '/etc/containerd/certs.d';
const use = (...texts: readonly string[]) => folderUse(texts, folder);
const second = '[plugins."io.containerd.grpc.v1.cri".registry]';
const third = "[plugins.'io.containerd.cri.v1.images'.registry]";

test.each([second, third, '  [ plugins . "io.containerd.grpc.v1.cri" . registry ] # registries'])(
  '%s with config_path is read',
  (section) => {
    expect(use(`version = 2\n${section}\n  config_path = "${folder}"\n`)).toBe('read');
    expect(use(`${section}\nconfig_path = '${folder}/:/etc/docker/certs.d'`)).toBe('read');
    expect(use(`${section}\nconfig_path = "/other"`)).toBe('elsewhere');
    expect(use(`${section}\nconfig_path = ""`)).toBe('default');
    expect(use(`${section}\n# config_path = "${folder}"`)).toBe('default');
  },
);

test('a dotted key says the same', () => {
  const key = 'plugins."io.containerd.grpc.v1.cri".registry.config_path';
  expect(use(`version = 2\n${key} = "${folder}"\n`)).toBe('read');
  expect(use(`[plugins."io.containerd.grpc.v1.cri"]\nregistry.config_path = "/other"\n`)).toBe('elsewhere');
});

test('without a section, or without a file, it depends on the version', () => {
  expect(use()).toBe('default');
  expect(use('')).toBe('default');
  expect(use(`[plugins."io.containerd.snapshotter.v1.overlayfs"]\nconfig_path = "${folder}"`)).toBe('default');
});

test('a mirror in the old way excludes the folder', () => {
  const mirror = '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["https://m"]';
  const auth = '[plugins."io.containerd.grpc.v1.cri".registry.configs."m".auth]';
  expect(use(mirror)).toBe('legacy');
  expect(use(`${second}\nconfig_path = ""\n${auth}`)).toBe('legacy');
  expect(use(`${second}\nconfig_path = "${folder}"\n[plugins."x"]\n`)).toBe('read');
});

test('what is imported counts, the last one most', () => {
  expect(use('', `${third}\nconfig_path = "${folder}"`)).toBe('read');
  expect(use(`${third}\nconfig_path = "${folder}"`, `${third}\nconfig_path = "/other"`)).toBe('elsewhere');
  expect(importsIn('version = 3\nimports = ["/etc/containerd/conf.d/*.toml", \'b.toml\']\n')).toEqual([
    '/etc/containerd/conf.d/*.toml',
    'b.toml',
  ]);
  expect(importsIn('version = 3')).toEqual([]);
});
