/** What a host may look like as clients write it, with or without a port. */
const hostGrammar = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?$/;

export function isPattern(key: string): boolean {
  return key.includes('*');
}

/** Whether it says nothing of the host: `**`, `*.*`. */
export function admitsAnyHost(key: string): boolean {
  return isPattern(key) && /^[*.]+(?::\d+)?$/.test(key);
}

/**
 * A predicate for names of registries. `*` is one label and never a port; `**` is any host.
 * `*.gcr.io` admits `eu.gcr.io`, but neither `gcr.io` nor `a.b.gcr.io`.
 */
export function namePatternMatcher(pattern: string): (name: string) => boolean {
  const any = (part: string) =>
    part
      .split('*')
      .map((literal) => RegExp.escape(literal))
      .join('[^.:]+');
  const grammar = new RegExp(`^${pattern.split('**').map(any).join('.+')}$`);
  return (name) => hostGrammar.test(name) && grammar.test(name);
}

/** Longer patterns say more, so they come first; equally long ones in alphabetical order. */
export function bySpecificity(one: string, other: string): number {
  return other.length - one.length || (one < other ? -1 : 1);
}
