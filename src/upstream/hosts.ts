/** Lower-case `host:port` of a URL, with the scheme's default port filled in. */
export function hostAndPort(url: URL): string {
  return `${url.hostname}:${portOf(url)}`;
}

/**
 * A predicate for URLs: whether `listed` names their host and port. An entry without a port means the default port of the URL's
 * scheme; `*` is one label.
 */
export function hostMatcher(listed: readonly string[]): (url: URL) => boolean {
  const grammars = listed.map(grammarOf);
  return (url) => grammars.some((matches) => matches(url));
}

function grammarOf(entry: string): (url: URL) => boolean {
  const [, host = entry, port] = /^(.*?)(?::(\d+))?$/.exec(entry.toLowerCase()) ?? [];
  const labels = new RegExp(
    `^${host
      .split('*')
      .map((literal) => RegExp.escape(literal))
      .join('[^.:]+')}$`,
  );
  return (url) => labels.test(url.hostname) && portOf(url) === (port ?? defaultPortOf(url));
}

function portOf(url: URL): string {
  return url.port === '' ? defaultPortOf(url) : url.port;
}

function defaultPortOf(url: URL): string {
  return url.protocol === 'http:' ? '80' : '443';
}
