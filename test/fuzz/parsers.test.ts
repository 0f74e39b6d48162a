import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseRegistryPath } from '../../src/http/registry/routes.ts';
import {
  parseBlobRecord,
  parseManifestRecord,
  parseReferrersRecord,
  parseTagListRecord,
  parseTagRecord,
  parseVisibilityRecord,
} from '../../src/mirror/ports/record-store.ts';
import { OciError, UpstreamError } from '../../src/oci/errors.ts';
import { parseHostName, parseRepository, parseTag } from '../../src/oci/reference.ts';
import { manifestShapeOf, namedBy } from '../../src/oci/manifest.ts';
import { parseRange } from '../../src/oci/range.ts';
import { parseCheckpointFile } from '../../src/storage/filesystem/incoming/checkpoint-file.ts';
import { digestAt, recordKeyAt, recordPath } from '../../src/storage/layout.ts';
import { contentLengthOf, contentRangeOf } from '../../src/upstream/transport/answer.ts';
import { rateLimitOf, retryAfterSecondsOf } from '../../src/upstream/transport/rate-limits.ts';
import { demandOf, parseChallenges } from '../../src/upstream/credentials/protocol/challenge.ts';
import { parseTokenResponse } from '../../src/upstream/credentials/protocol/token-response.ts';
import { nextLink } from '../../src/upstream/api/pages.ts';
import { namePatternMatcher } from '../../src/upstream/upstream-directory.ts';
import { isMediaType } from '../../src/oci/media-types.ts';
import { expectAlways } from './runs.ts';

/** The outcome of what may refuse in the words of the spec, or blame the upstream, and nothing else. */
function orRefusal<Value>(parse: () => Value): Value | 'refused' {
  try {
    return parse();
  } catch (cause) {
    if (cause instanceof OciError || cause instanceof UpstreamError) return 'refused';
    throw cause;
  }
}

/** Any text, mostly of pieces that mean something to a parser. */
function textOf(...pieces: readonly string[]): fc.Arbitrary<string> {
  const piece = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...pieces) }, { weight: 1, arbitrary: fc.string() });
  return fc.array(piece, { maxLength: 12 }).map((all) => all.join(''));
}

const bytesOfJson = fc.json().map((text) => Buffer.from(text));
const bytes = fc.oneof(bytesOfJson, fc.uint8Array({ maxLength: 300 }));
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0;
const isDigestText = (text: string): boolean => /^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(text);
const isObjectOrAbsent = (value: unknown): boolean => value === undefined || typeof value === 'object';

describe('headers of upstreams', () => {
  const name = fc.constantFrom('realm', 'service', 'scope', 'error', 'x');
  const quotable = fc.string({ unit: fc.constantFrom('a', '/', ':', '"', '\\', ' ', ',', '=', 'é') });
  const scheme = fc.constantFrom('bearer', 'basic', 'negotiate', 'digest');
  const params = fc.dictionary(name, quotable, { minKeys: 1, noNullPrototype: true });

  function written({ scheme: by, params: told }: { scheme: string; params: Readonly<Record<string, string>> }): string {
    const pairs = Object.entries(told).map(([key, value]) => `${key}="${value.replaceAll(/["\\]/g, '\\$&')}"`);
    return `${by} ${pairs.join(', ')}`;
  }

  test('every challenge is parsed back as it was written', async () => {
    const challenges = fc.array(fc.record({ scheme, params }), { maxLength: 4 });
    const readBack = fc.property(challenges, (all) => {
      const read = parseChallenges(all.map(written).join(', '));
      expect(read.map((one) => ({ scheme: one.scheme, params: Object.fromEntries(one.params) }))).toEqual(all);
    });
    await expectAlways(readBack, 300);
  });

  test('every challenge demands something the mirror supports, or nothing', async () => {
    const text = textOf('Bearer ', 'Basic ', 'realm=', '"', '\\', 'https://a.test/', 'file:///', ',', '=', ' ', '\t');
    const parsed = fc.property(text, (header) => {
      const demand = demandOf(parseChallenges(header));
      return demand?.kind !== 'bearer' || ['http:', 'https:'].includes(demand.realm.protocol);
    });
    await expectAlways(parsed, 500);
  });

  test('the next page is on the host of the list, or nowhere', async () => {
    const text = textOf(
      '<',
      '>',
      '</v2/a/tags/list?n=1>',
      '; rel=',
      '"next"',
      'next',
      'prev',
      ';',
      ',',
      '"',
      '\\',
      ' ',
    );
    const parsed = fc.property(text, (header) => {
      const next = nextLink(header);
      if (next === undefined) return true;
      return header.includes('<') ? header.includes(`<${next}>`) : header.trimStart().startsWith(next);
    });
    await expectAlways(parsed, 500);
  });

  test('lengths, ranges, limits and times are sensible numbers, or absent', async () => {
    const text = textOf('bytes ', '0', '9', '12345678901234567890', '-', '/', '*', ';w=', 'e', '.', ' ', '+', 'Wed, ');
    const parsed = fc.property(text, (value) => {
      const { start, end, size } = contentRangeOf({ 'content-range': value }) ?? {};
      const headers = { 'ratelimit-limit': value, 'ratelimit-remaining': value, 'ratelimit-reset': value };
      const limit = rateLimitOf(headers, Date.UTC(2030, 0));
      const length = contentLengthOf({ 'content-length': value });
      const seconds = retryAfterSecondsOf({ 'retry-after': value }, Date.UTC(2030, 0));
      const numbers = [length, start, end, size, seconds, limit?.limit, limit?.windowSeconds, limit?.resetSeconds];
      return numbers.every((number) => number === undefined || isCount(number));
    });
    await expectAlways(parsed, 500);
  });

  /** By the time the processor spent, which other work on the machine does not change. */
  test.each([
    { what: 'a challenge', parse: parseChallenges },
    { what: 'a link', parse: nextLink },
  ])('$what of the maximum length does not block the event loop', ({ parse }) => {
    for (const piece of ['"', '\\"', '"\\"', '<', '<>', '<>"\\"', ',', '=', 'a="', 'a \t', '<a>; rel="', ';', '====']) {
      const text = piece.repeat(Math.floor((32 * 1024) / piece.length));
      const before = process.cpuUsage();
      parse(text);
      const { user, system } = process.cpuUsage(before);
      expect({ piece, isQuick: user + system < 150_000 }).toEqual({ piece, isQuick: true });
    }
  });
});

describe('documents of upstreams', () => {
  test('every answer of a token endpoint is a token or an error of the endpoint', async () => {
    const field = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.constantFrom(null, true), fc.jsonValue());
    const fields = { token: field, access_token: field, expires_in: field, issued_at: field };
    const answer = fc.record(fields, { requiredKeys: [] }).map((body) => Buffer.from(JSON.stringify(body)));
    const parsed = fc.property(fc.oneof(bytes, answer), (body) => {
      const token = orRefusal(() => parseTokenResponse(body, { host: 'auth.test', nowMs: 0 }));
      return token === 'refused' || (/^Bearer [\x21-\x7e]+$/.test(token.header) && Number.isFinite(token.renewAtMs));
    });
    await expectAlways(parsed, 500);
  });

  test('every manifest has valid descriptors, or none', async () => {
    const descriptor = fc.record(
      {
        mediaType: fc.oneof(fc.string(), fc.jsonValue()),
        digest: fc.oneof(fc.constant(`sha256:${'a'.repeat(64)}`), fc.jsonValue()),
        size: fc.oneof(fc.integer(), fc.double(), fc.jsonValue()),
        urls: fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    const list = fc.oneof(fc.array(fc.oneof(descriptor, fc.jsonValue()), { maxLength: 5 }), fc.jsonValue());
    const manifest = fc.record(
      { mediaType: fc.jsonValue(), config: fc.oneof(descriptor, fc.jsonValue()), layers: list, manifests: list },
      { requiredKeys: [] },
    );
    const written = manifest.map((body) => Buffer.from(JSON.stringify(body)));
    const parsed = fc.property(fc.oneof(bytes, written), (body) => {
      const areDescriptors = namedBy(body).every(({ digest, size }) => isDigestText(digest) && isCount(size));
      const type = manifestShapeOf(body)?.mediaType;
      return areDescriptors && (type === undefined || (isMediaType(type) && type.length <= 255));
    });
    await expectAlways(parsed, 500);
  });

  test('an invalid record counts as absent', async () => {
    const parsers = [
      parseBlobRecord,
      parseManifestRecord,
      parseReferrersRecord,
      parseTagListRecord,
      (value: unknown) => parseTagRecord(value, parseTag('1')),
      parseVisibilityRecord,
    ];
    const parsed = fc.property(fc.jsonValue(), bytes, (value, body) => {
      const records = parsers.map((parse) => parse(value));
      return [...records, parseCheckpointFile(Buffer.from(body))].every(isObjectOrAbsent);
    });
    await expectAlways(parsed, 300);
  });
});

describe('requests of clients, and files on the disk', () => {
  test('every path is a resource of a registry, or rejected', async () => {
    const digest = `sha256:${'a'.repeat(64)}`;
    const text = textOf(
      '/',
      '/v2/',
      'library',
      'app',
      '/manifests/',
      '/blobs/',
      '/tags/list',
      digest,
      '%3A',
      '..',
      '?ns=',
    );
    const parsed = fc.property(text, (target) => {
      const path = orRefusal(() => parseRegistryPath(`/${target}`));
      return path === 'refused' || !('digest' in path.resource) || isDigestText(path.resource.digest);
    });
    await expectAlways(parsed, 500);
  });

  test('every host name is ASCII and fits the store, or is rejected', async () => {
    const text = textOf(
      'docker.io',
      'a',
      '.',
      '-',
      '_',
      ':',
      '5000',
      '[',
      ']',
      '::1',
      '\u212A',
      '\u0130',
      '*',
      'x'.repeat(60),
    );
    const app = parseRepository('a'.repeat(255));
    const parsed = fc.property(text, (written) => {
      const upstream = parseHostName(written);
      if (upstream === undefined) return true;
      const key = { kind: 'tag', repositoryId: { upstream, repository: app }, tag: parseTag('t'.repeat(128)) } as const;
      const isAscii = /^[a-z0-9.:[\]-]+$/.test(upstream) && upstream.length === written.length;
      return (
        isAscii &&
        recordPath(key)
          .split('/')
          .every((part) => part.length <= 255)
      );
    });
    await expectAlways(parsed, 1_000);
  });

  test('every host that a pattern matches is the host of its URL', async () => {
    const text = textOf('docker.io', 'a', '.', '-', ':', '5000', '0x7f', '1', 'xn--', '99999');
    const admits = namePatternMatcher('**');
    const parsed = fc.property(text, (written) => {
      const name = parseHostName(written);
      return !name || !admits(name) || new URL(`https://${name}`).hostname === name.replace(/:.*/, '');
    });
    await expectAlways(parsed, 1_000);
  });

  test('every range lies within the content', async () => {
    const text = textOf('bytes=', '0', '5', '99999999999999999999', '-', ',', ' ');
    const parsed = fc.property(text, fc.nat({ max: 50 }), (header, size) => {
      const range = parseRange(header, size);
      if (typeof range !== 'object') return true;
      const ranges = 'ranges' in range ? range.ranges : [range];
      return ranges.every(({ start, end }) => start >= 0 && start <= end && end < size);
    });
    await expectAlways(parsed, 500);
  });

  test('every file is a record, a blob or unknown, and a record is at the path of its key', async () => {
    const pieces = [
      'repositories/',
      'blobs/',
      'docker.io/',
      'app/',
      '_tags/',
      '_blobs/',
      'sha256/',
      'aa/',
      '.json',
      '..',
    ];
    const parsed = fc.property(textOf(...pieces, '/'), (path) => {
      const key = recordKeyAt(path);
      return (!key || recordPath(key) === path) && ['string', 'undefined'].includes(typeof digestAt(path));
    });
    await expectAlways(parsed, 500);
  });
});
