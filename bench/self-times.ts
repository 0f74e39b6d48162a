export interface SelfTime {
  readonly name: string;
  readonly seconds: number;
  /** Of the whole span, including idle time. */
  readonly share: number;
}

/**
 * Sums the samples of a V8 CPU profile by function, longest first.
 * @param span the samples to include, in milliseconds since the process started.
 */
export function selfTimes(
  profile: unknown,
  span: { readonly fromMs: number; readonly toMs: number },
): readonly SelfTime[] {
  const { names, samples, deltasUs } = parseProfile(profile);
  const microseconds = new Map<string, number>();
  let atMs = 0;
  let all = 0;
  for (const [i, deltaUs] of deltasUs.entries()) {
    atMs += deltaUs / 1_000;
    if (atMs < span.fromMs || atMs > span.toMs) continue;
    const name = names.get(samples[i] ?? -1) ?? '(unknown)';
    microseconds.set(name, (microseconds.get(name) ?? 0) + deltaUs);
    all += deltaUs;
  }
  return [...microseconds]
    .map(([name, us]) => ({ name, seconds: us / 1_000_000, share: us / all }))
    .toSorted((a, b) => b.seconds - a.seconds);
}

interface Profile {
  readonly names: ReadonlyMap<number, string>;
  readonly samples: readonly number[];
  readonly deltasUs: readonly number[];
}

function parseProfile(profile: unknown): Profile {
  const { nodes, samples, timeDeltas } = Object(profile);
  if (!Array.isArray(nodes) || !isNumbers(samples) || !isNumbers(timeDeltas)) throw new Error('not a CPU profile');
  return {
    names: new Map(nodes.map(({ id, callFrame }) => [Number(id), nameOf(callFrame)])),
    samples,
    deltasUs: timeDeltas,
  };
}

function nameOf({ functionName, url, lineNumber }: Readonly<Record<string, unknown>>): string {
  const place = String(url).replace(/^.*\/(?=(?:src|node_modules)\/)/, '');
  return `${String(functionName) || '(anonymous)'} ${place}${place ? `:${Number(lineNumber) + 1}` : ''}`.trim();
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'number');
}
