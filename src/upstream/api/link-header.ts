/**
 * The target of `rel="next"` (RFC 8288 §3; distribution-spec v1.1.1, "Listing Tags"). Commas and semicolons may stand in the target.
 * @returns undefined when there is no next page.
 */
export function nextLink(header: string | readonly string[] | undefined): string | undefined {
  const text = typeof header === 'string' ? header : (header ?? []).join(', ');
  for (const [, target, params = ''] of text.matchAll(/<([^<>]*)>((?:[^<"]|"(?:[^"\\]|\\.)*")*)/g)) {
    if (relationsIn(params).includes('next')) return target;
  }
  return undefined;
}

function relationsIn(params: string): readonly string[] {
  for (const [, name, quoted, bare] of params.matchAll(/;\s*([^\s=;,"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,]*))/g)) {
    if (name?.toLowerCase() === 'rel') return (quoted ?? bare ?? '').toLowerCase().split(/\s+/);
  }
  return [];
}
