import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseRegistryPath } from '../../src/http/registry-path.ts';
import {
  parseBlobRecord,
  parseManifestRecord,
  parseReferrersRecord,
  parseTagListRecord,
  parseTagRecord,
  parseVisibilityRecord,
} from '../../src/mirror/records.ts';
import { OciError, UpstreamError } from '../../src/oci/errors.ts';
import { claimedMediaType, namedBy } from '../../src/oci/manifest.ts';
import { parseRange } from '../../src/oci/range.ts';
import { parseMarkFile } from '../../src/storage/filesystem/mark-file.ts';
import { digestAt, recordKeyAt, recordPath } from '../../src/storage/layout.ts';
import { contentLengthOf, contentRangeOf, retryAfterSecondsOf } from '../../src/upstream/answer-headers.ts';
import { type Challenge, demandOf, parseChallenges } from '../../src/upstream/credentials/challenge.ts';
import { parseTokenResponse } from '../../src/upstream/credentials/token-response.ts';
import { nextLink } from '../../src/upstream/link-header.ts';
import { rateLimitOf } from '../../src/upstream/rate-limit.ts';
import { runs } from './runs.ts';

/** Runs what may refuse in the words of the spec, or blame the upstream, and nothing else. */
function orRefusal<Value>(parse: () => Value): Value | undefined {
  try {
    return parse();
  } catch (cause) {
    expect(cause instanceof OciError || cause instanceof UpstreamError).toBe(true);
    return undefined;
  }
}

/** Any text, mostly of pieces that mean something to somebody. */
function textOf(...pieces: readonly string[]): fc.Arbitrary<string> {
  const piece = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...pieces) }, { weight: 1, arbitrary: fc.string() });
  return fc.array(piece, { maxLength: 12 }).map((all) => all.join(''));
}

const bytesOfJson = fc.json().map((text) => Buffer.from(text));
const bytes = fc.oneof(bytesOfJson, fc.uint8Array({ maxLength: 300 }));

describe('headers of upstreams', () => {
  const name = fc.constantFrom('realm', 'service', 'scope', 'error', 'x');
  const quotable = fc.string({ unit: fc.constantFrom('a', '/', ':', '"', '\\', ' ', ',', '=', 'é') });
  const challenge = fc.record({
    scheme: fc.constantFrom('bearer', 'basic', 'negotiate', 'digest'),
    params: fc.dictionary(name, quotable, { minKeys: 1, noNullPrototype: true }),
  });

  test('challenges are read back as they were written', () => {
    fc.assert(
      fc.property(fc.array(challenge, { maxLength: 4 }), (written) => {
        const text = written
          .map(({ scheme, params }) => `${scheme} ${Object.entries(params).map(quoted).join(', ')}`)
          .join(', ');
        const read = parseChallenges(text).map(({ scheme, params }) => ({
          scheme,
          params: Object.fromEntries(params),
        }));
        expect(read).toEqual(written);
      }),
      runs(300),
    );
  });

  function quoted([key, value]: readonly [string, string]): string {
    return `${key}="${value.replaceAll(/["\\]/g, (character) => `\\${character}`)}"`;
  }

  test('whatever a challenge is, it demands what the mirror can give, or nothing', () => {
    const text = textOf('Bearer ', 'Basic ', 'realm=', '"', '\\', 'https://a.test/', 'file:///', ',', '=', ' ', '\t');
    fc.assert(
      fc.property(text, (header) => {
        const challenges: readonly Challenge[] = parseChallenges(header);
        for (const { scheme, params } of challenges) {
          expect(scheme).toBe(scheme.toLowerCase());
          for (const key of params.keys()) expect(key).toBe(key.toLowerCase());
        }
        const demand = demandOf(challenges);
        if (demand?.kind === 'bearer') expect(['http:', 'https:']).toContain(demand.realm.protocol);
      }),
      runs(500),
    );
  });

  test('the next page is where a link says it is, or nowhere', () => {
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
    fc.assert(
      fc.property(text, (header) => {
        const next = nextLink(header);
        if (next !== undefined) expect(header).toContain(`<${next}>`);
      }),
      runs(500),
    );
  });

  test('lengths, ranges, limits and times are numbers that make sense, or absent', () => {
    const text = textOf('bytes ', '0', '9', '12345678901234567890', '-', '/', '*', ';w=', 'e', '.', ' ', '+', 'Wed, ');
    fc.assert(
      fc.property(text, (value) => {
        const length = contentLengthOf({ 'content-length': value });
        const { start, end, size } = contentRangeOf({ 'content-range': value }) ?? {};
        const seconds = retryAfterSecondsOf({ 'retry-after': value }, Date.UTC(2030, 0));
        const limit = rateLimitOf({ 'ratelimit-limit': value, 'ratelimit-remaining': value });
        for (const number of [length, start, end, size, seconds, limit?.limit, limit?.windowSeconds]) {
          if (number !== undefined) expect(Number.isSafeInteger(number) && number >= 0).toBe(true);
        }
      }),
      runs(500),
    );
  });

  /** By the time the processor spent, which other work on the machine does not change. */
  test.each([
    { what: 'a challenge', parse: parseChallenges },
    { what: 'a link', parse: nextLink },
  ])('$what as long as headers may be does not hold up the process', ({ parse }) => {
    for (const piece of ['"', '\\"', '"\\"', '<', '<>', '<>"\\"', ',', '=', 'a="', 'a \t', '<a>; rel="', ';', '====']) {
      const text = piece.repeat(Math.floor((32 * 1024) / piece.length));
      const before = process.cpuUsage();
      parse(text);
      const { user, system } = process.cpuUsage(before);
      expect({ piece, isQuick: user + system < 150_000 }).toEqual({ piece, isQuick: true });
    }
  });
});

describe('documents', () => {
  test('whatever a token endpoint sends, it is a token or the fault of the endpoint', () => {
    const field = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.constantFrom(null, true), fc.jsonValue());
    const answer = fc.record(
      { token: field, access_token: field, expires_in: field, issued_at: field },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          bytes,
          answer.map((body) => Buffer.from(JSON.stringify(body))),
        ),
        (body) => {
          const token = orRefusal(() => parseTokenResponse(body, { host: 'auth.test', nowMs: 0 }));
          if (token) expect(token.header).toMatch(/^Bearer [\x21-\x7e]+$/);
          if (token) expect(Number.isFinite(token.renewAtMs)).toBe(true);
        },
      ),
      runs(500),
    );
  });

  test('whatever a manifest is, it names descriptors or nothing', () => {
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
    fc.assert(
      fc.property(
        fc.oneof(
          bytes,
          manifest.map((body) => Buffer.from(JSON.stringify(body))),
        ),
        (body) => {
          for (const { digest, size } of namedBy(body)) {
            expect(digest).toMatch(/^sha(256|512):[0-9a-f]+$/);
            expect(Number.isSafeInteger(size) && size >= 0).toBe(true);
          }
          expect(['string', 'undefined']).toContain(typeof claimedMediaType(body));
        },
      ),
      runs(500),
    );
  });

  test('a record that is no record counts as never written', () => {
    const parsers = [
      parseBlobRecord,
      parseManifestRecord,
      parseReferrersRecord,
      parseTagListRecord,
      parseTagRecord,
      parseVisibilityRecord,
    ];
    fc.assert(
      fc.property(fc.jsonValue(), bytes, (value, body) => {
        for (const parse of parsers) expect(['object', 'undefined']).toContain(typeof parse(value));
        expect(['object', 'undefined']).toContain(typeof parseMarkFile(Buffer.from(body)));
      }),
      runs(300),
    );
  });
});

describe('what clients write, and what lies on the disk', () => {
  test('whatever the path, it is a resource of a registry or refused', () => {
    const hex = 'a'.repeat(64);
    const text = textOf(
      '/',
      '/v2/',
      'library',
      'app',
      '/manifests/',
      '/blobs/',
      '/tags/list',
      `sha256:${hex}`,
      '%3A',
      '%',
      '..',
      '?ns=',
    );
    fc.assert(
      fc.property(text, (target) => {
        const { resource } = orRefusal(() => parseRegistryPath(`/${target}`)) ?? {};
        if (resource && 'digest' in resource) expect(resource.digest).toMatch(/^sha(256|512):[0-9a-f]+$/);
      }),
      runs(500),
    );
  });

  test('whatever the range, it lies within what there is', () => {
    const text = textOf('bytes=', '0', '5', '99999999999999999999', '-', ',', ' ');
    fc.assert(
      fc.property(text, fc.nat({ max: 50 }), (header, size) => {
        const range = parseRange(header, size);
        if (typeof range !== 'object') return;
        expect(range.start >= 0 && range.start <= range.end && range.end < size).toBe(true);
      }),
      runs(500),
    );
  });

  test('a file is a record, a blob or nobody knows what, and a record is where its key says', () => {
    const text = textOf(
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
      '/',
    );
    fc.assert(
      fc.property(text, (path) => {
        const key = recordKeyAt(path);
        if (key) expect(recordPath(key)).toBe(path);
        expect(['string', 'undefined']).toContain(typeof digestAt(path));
      }),
      runs(500),
    );
  });
});
