import type { HostName } from '../oci/host-name.ts';

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
export function namePatternMatcher(pattern: string): (name: HostName) => boolean {
  const any = (part: string) =>
    part
      .split('*')
      .map((literal) => RegExp.escape(literal))
      .join('[^.:]+');
  const grammar = new RegExp(`^${pattern.split('**').map(any).join('.+')}$`);
  return (name) => grammar.test(name) && isAsWritten(name);
}

/** Whether a URL keeps the host as it is: `0x7f.1` would become another one, `[::1]` says nothing to a pattern, `a.test:99999` is none. */
function isAsWritten(name: HostName): boolean {
  return !name.startsWith('[') && URL.parse(`https://${name}`)?.hostname === name.replace(/:\d+$/, '');
}

/** Longer patterns say more, so they come first; equally long ones in alphabetical order. */
export function bySpecificity(one: string, other: string): number {
  return other.length - one.length || (one < other ? -1 : 1);
}
