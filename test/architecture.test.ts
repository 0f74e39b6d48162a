import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';

/**
 * What the files of a folder may import from the rest of src/, as beginnings of paths. ARCHITECTURE.md explains the picture; this test
 * keeps it true. The files at the root put everything together and may import what they need. `mirror/concurrency/` knows nothing of the
 * mirror: every part that waits uses it.
 */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  oci: [],
  config: [],
  mirror: ['oci/'],
  storage: ['oci/', 'mirror/ports/', 'mirror/concurrency/'],
  upstream: ['oci/', 'mirror/ports/', 'mirror/concurrency/'],
  index: ['oci/', 'mirror/ports/', 'mirror/concurrency/', 'cluster/redis/'],
  cluster: ['oci/', 'mirror/ports/', 'mirror/concurrency/', 'upstream/transport/'],
  nodes: ['config/', 'clients/'],
  clients: [],
  events: [
    'config/sections/events.ts',
    'mirror/ports/',
    'mirror/concurrency/',
    'oci/',
    'storage/filesystem/file-system.ts',
    'storage/filesystem/state-file.ts',
    'upstream/lookup/',
    'upstream/transport/',
    'upstream/settings.ts',
  ],
  telemetry: ['mirror/ports/', 'mirror/concurrency/abortable-wait.ts', 'oci/reference.ts'],
  http: ['oci/', 'mirror/', 'clients/kinds.ts'],
  app: [''],
  commands: [''],
  program: ['app/', 'clients/', 'commands/', 'config/', 'storage/filesystem/failpoints.ts'],
  '.': [''],
};

/** Which files alone may use a package or a part of Node, as beginnings of paths. A package that is not listed may not be used. */
const ownersOf: Readonly<Record<string, readonly string[]>> = {
  koa: ['http/'],
  '@koa/router': ['http/'],
  undici: ['upstream/', 'cluster/'],
  tldts: ['upstream/'],
  'lru-cache': ['mirror/', 'upstream/', 'storage/s3/', 'index/', 'telemetry/'],
  'tar-stream': ['app/administration/archives/'],
  zod: ['config/', 'http/management/api/', 'events/', 'mirror/administration/images/'],
  'fastest-levenshtein': ['config/'],
  'jsonc-parser': ['config/', 'clients/'],
  'prom-client': ['telemetry/'],
  pino: ['telemetry/'],
  '@opentelemetry/api': ['telemetry/'],
  ioredis: ['cluster/redis/'],
  commander: ['program/'],
  '@aws-sdk/client-ecr': ['upstream/credentials/'],
  '@aws-sdk/client-ecr-public': ['upstream/credentials/'],
  '@aws-sdk/client-s3': ['storage/s3/'],
  '@aws-sdk/lib-storage': ['storage/s3/'],
  '@aws-sdk/s3-request-presigner': ['storage/s3/'],
  '@smithy/node-http-handler': ['upstream/credentials/', 'storage/s3/'],
  '@smithy/undici-http-handler': ['storage/s3/access/'],
  'google-auth-library': ['upstream/credentials/'],
  'p-limit': ['app/', 'mirror/', 'storage/', 'upstream/'],
  'node:sqlite': ['index/'],
  'node:child_process': ['upstream/credentials/', 'commands/client/'],
  'node:http': ['http/', 'upstream/', 'commands/kubernetes/'],
  'node:https': ['http/', 'upstream/', 'commands/kubernetes/'], // There, since fetch takes no certificate authority.
  'node:dns': ['upstream/', 'commands/'],
  'node:tls': ['http/', 'upstream/', 'config/'],
  'node:fs': [
    'program/exit.ts',
    'app/reloading.ts',
    'storage/',
    'config/',
    'upstream/credentials/',
    'http/',
    'commands/',
  ],
  'node:fs/promises': ['storage/', 'config/', 'upstream/credentials/', 'http/', 'commands/', 'nodes/', 'clients/'],
  'node:process': ['upstream/credentials/'], // There, to kill what a helper started.
};

const files = globSync('**/*.ts', { cwd: 'src' }).toSorted();

function folderOf(file: string): string {
  return file.includes('/') ? (file.split('/')[0] ?? '.') : '.';
}

/** Of a file, without its comments. */
function codeOf(file: string): string {
  return readFileSync(join('src', file), 'utf8')
    .replaceAll(/\/\*[\s\S]*?\*\//g, '')
    .replaceAll(/(^|\s)\/\/.*$/gm, '$1');
}

/** What a file imports, by name or at run time. */
function importsOf(file: string): readonly string[] {
  const code = codeOf(file);
  const named = code.matchAll(/^(?:import|export)\b[^'"]*?from\s+['"]([^'"]+)['"]/gm);
  const others = code.matchAll(/(?<![\w/'"])import\(?\s*['"]([^'"]+)['"]/g);
  return [...named, ...others].map((match) => match[1] ?? '');
}

function isAllowed(file: string, specifier: string): boolean {
  if (!specifier.startsWith('.')) {
    const owners = ownersOf[specifier];
    if (owners === undefined) return specifier.startsWith('node:');
    return owners.some((owner) => file.startsWith(owner));
  }
  const target = normalize(join(dirname(file), specifier));
  const folder = folderOf(file);
  return folderOf(target) === folder || (mayImport[folder]?.some((place) => target.startsWith(place)) ?? false);
}

describe.each(files)('src/%s', (file) => {
  test('imports only what its room may import', () => {
    expect(importsOf(file).filter((specifier) => !isAllowed(file, specifier))).toEqual([]);
  });

  test('names every package it uses among the dependencies of the program', () => {
    const { dependencies } = manifest();
    const packages = importsOf(file).filter((specifier) => !/^(?:\.|node:)/.test(specifier));
    expect(packages.filter((name) => !(name in dependencies))).toEqual([]);
  });

  test('keeps no module state', () => {
    const variables = codeOf(file).match(/^(?:export )?(?:let|var) .*$/gm) ?? [];
    const made =
      codeOf(file).match(/^(?:export )?const .* = (?:await )?new (?!Set\b|Map\b|RegExp\b|Command\b).*$/gm) ?? [];
    expect([...variables, ...made]).toEqual([]);
  });
});

test('the server and the bodies know nothing of what is served', () => {
  const wrong = files
    .filter((file) => /^http\/(server|response)\//.test(file))
    .flatMap((file) => importsOf(file).map((specifier) => normalize(join(dirname(file), specifier))))
    .filter((target) => /^http\/(registry|siblings|management)\//.test(target));
  expect(wrong).toEqual([]);
});

test('only program/ uses the process', () => {
  const touching = files.filter((file) => /(?<![.\w'-])process(?:\.\w|\[|\?\.)/.test(codeOf(file)));
  expect(touching).not.toEqual([]);
  expect(touching.filter((file) => !file.startsWith('program/'))).toEqual([]);
});

test('there are no import cycles, types included', () => {
  const imports = new Map(files.map((file) => [file, neighboursOf(file)]));
  expect(cyclesIn(imports)).toEqual([]);
});

/** The files of src/ that a file imports. */
function neighboursOf(file: string): readonly string[] {
  const relative = importsOf(file).filter((specifier) => specifier.startsWith('.'));
  return relative.map((specifier) => normalize(join(dirname(file), specifier)));
}

/** The cycles that a walk along the imports meets, each as `a.ts → b.ts → a.ts`. */
function cyclesIn(imports: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const cycles: string[] = [];
  const done = new Set<string>();
  const walk = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '));
    if (path.includes(file) || done.has(file)) return;
    for (const next of imports.get(file) ?? []) walk(next, [...path, file]);
    done.add(file);
  };
  for (const file of imports.keys()) walk(file, []);
  return cycles;
}

test('a cycle is found, also one through several files', () => {
  const imports = new Map([
    ['a.ts', ['b.ts']],
    ['b.ts', ['c.ts', 'd.ts']],
    ['c.ts', ['a.ts']],
    ['d.ts', []],
  ]);
  expect(cyclesIn(imports)).toEqual(['a.ts → b.ts → c.ts → a.ts']);
});

describe('no behaviour runs through telemetry', () => {
  test('every method of the observer returns nothing', () => {
    const [, body = ''] = /interface Observer \{([\s\S]*?)\n\}/.exec(codeOf('mirror/ports/observer.ts')) ?? [];
    const methods = body.match(/^ {2}\w+\(/gm) ?? [];
    const silent = body.match(/^ {2}(?:\w+\(.*|\})\): void;$/gm) ?? [];
    expect(methods).not.toEqual([]);
    expect(silent).toHaveLength(methods.length);
  });

  test('telemetry has no callbacks', () => {
    const callbacks = files
      .filter((file) => file.startsWith('telemetry/'))
      .flatMap((file) => codeOf(file).match(/\bon[A-Z]\w*(?=\??[:(])/g) ?? []);
    expect(callbacks).toEqual([]);
  });

  test('only app/ and commands/ use more of telemetry than the Observer port', () => {
    const knowing = files.filter((file) => importsOf(file).some((specifier) => specifier.includes('/telemetry/')));
    expect(knowing.filter((file) => !/^(?:app|commands|telemetry)\//.test(file))).toEqual([]);
  });
});

test.each(['ioredis', '@aws-sdk/client-s3', '@aws-sdk/lib-storage'])(
  '%s is loaded only where it is configured',
  (name) => {
    const atStart = new RegExp(`^(?:import|export) (?!type\\b)[^'"]*from ['"]${name}['"]`, 'm');
    expect(files.filter((file) => importsOf(file).includes(name))).not.toEqual([]);
    expect(files.filter((file) => atStart.test(codeOf(file)))).toEqual([]);
  },
);

test('there are no barrels, and no utils', () => {
  const drawers = /^(?:index|utils?|helpers?|types|misc|common|shared|lib)(?:\.ts)?$/;
  const names = [...new Set(files.flatMap((file) => [basename(file), ...dirname(file).split('/').slice(1)]))];
  expect(names.filter((name) => drawers.test(name))).toEqual([]);
});

/** A room is a folder of src/; who opens it should see at a glance what is there. */
const mostFilesInARoom = 14;

test('a room has at most 14 files', () => {
  const rooms = Map.groupBy(files, dirname);
  const full = [...rooms].filter(([, inIt]) => inIt.length > mostFilesInARoom).map(([room]) => room);
  expect(full).toEqual([]);
});

/** Above this a file has more than one job. `oxlint` does the same for functions: 60 lines at most. */
const mostLines = 300;

test('no file is longer than one job needs', () => {
  expect(files.filter((file) => linesIn(file) > mostLines)).toEqual([]);
});

/** What is shorter belongs to the file that it serves. */
const fewLines = 40;
/** Some ports and sections of the configuration are small, and still one thing each. */
const mostSmallFiles = 20;

test('few files are too small for a name of their own', () => {
  const small = files.filter((file) => linesIn(file) < fewLines);
  expect(small.length).toBeLessThanOrEqual(mostSmallFiles);
});

function linesIn(file: string): number {
  return readFileSync(join('src', file), 'utf8').trimEnd().split('\n').length;
}

describe('every version has the fixes that it needs', () => {
  /** koa: CVE-2026-27959. undici: CVE-2026-13697, and parts of a body counted wrongly. node: CVE-2026-58044. */
  const least = { koa: '3.1.2', undici: '8.9.0', node: '26.5.1' } as const;

  test.each(Object.entries(least))('%s is at least %s', (name, version) => {
    const { dependencies, devDependencies, engines } = manifest();
    const asked = [dependencies[name], devDependencies[name], engines[name]].filter((range) => range !== undefined);
    expect(asked).not.toEqual([]);
    const installed = installedVersions(name);
    expect(installed).not.toEqual([]);
    for (const one of [...asked, ...installed])
      expect({ one, isEnough: isAtLeast(one, version) }).toEqual({ one, isEnough: true });
  });

  test('versions are compared number by number', () => {
    expect(isAtLeast('^3.10.0', '3.9.9')).toBe(true);
    expect(isAtLeast('>=3.1.2', '3.1.2')).toBe(true);
    expect(isAtLeast('3.1.1', '3.1.2')).toBe(false);
    expect(isAtLeast('2.99.99', '3.1.2')).toBe(false);
  });
});

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly engines: Readonly<Record<string, string>>;
}

function manifest(): Manifest {
  const { dependencies, devDependencies, engines }: Manifest = JSON.parse(readFileSync('package.json', 'utf8'));
  return { dependencies, devDependencies, engines };
}

/** Every copy of a package that the lock file knows. */
function installedVersions(name: string): readonly string[] {
  const { packages }: { packages: Readonly<Record<string, { readonly version?: string }>> } = JSON.parse(
    readFileSync('package-lock.json', 'utf8'),
  );
  return Object.entries(packages)
    .filter(([path]) => path === `node_modules/${name}` || path.endsWith(`/node_modules/${name}`))
    .map(([, { version = '' }]) => version);
}

/** Whether a version, or the lowest of a range such as `^3.1.2`, is not below `least`. */
function isAtLeast(range: string, least: string): boolean {
  const numbersOf = (text: string) => (text.match(/\d+/g) ?? []).map(Number);
  const wanted = numbersOf(least);
  const place = numbersOf(range).findIndex((number, index) => number !== wanted[index]);
  return place === -1 || place >= wanted.length || (numbersOf(range)[place] ?? 0) > (wanted[place] ?? 0);
}
