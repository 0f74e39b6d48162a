/**
 * A predicate for repository names: `*` stands for anything within one component, `**` for anything at all.
 * `library/*` admits `library/alpine`; `**:latest` admits every repository's `latest`.
 */
export function globMatcher(glob: string): (name: string) => boolean {
  const pattern = glob
    .split('**')
    .map((part) => part.split('*').map(escaped).join('[^/]*'))
    .join('.*');
  const grammar = new RegExp(`^${pattern}$`, 's');
  return (name) => grammar.test(name);
}

/** Whether any of `globs` admits a name. */
export function anyGlobMatcher(globs: readonly string[]): (name: string) => boolean {
  const matchers = globs.map(globMatcher);
  return (name) => matchers.some((matches) => matches(name));
}

function escaped(literal: string): string {
  return literal.replace(/[.+?^${}()|[\]\\]/g, '\\$&');
}
