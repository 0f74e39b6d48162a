/** Lower-case `host:port` of a URL, with the scheme's default port filled in. */
export function hostAndPort(url: URL): string {
  return `${url.hostname}:${portOf(url)}`;
}

/**
 * A predicate for URLs: whether `listed` names their host and port. An entry without a port means the default port of the URL's
 * scheme; `*` is one label. An entry that begins with `http://` means that scheme only.
 */
export function hostMatcher(listed: readonly string[]): (url: URL) => boolean {
  const grammars = listed.map(grammarOf);
  return (url) => grammars.some((matches) => matches(url));
}

const plainHttp = 'http://';

/** The entries that name a host by `http://host:port`. */
export function plainHttpHosts(listed: readonly string[]): readonly string[] {
  return listed.filter((entry) => entry.startsWith(plainHttp));
}

function grammarOf(entry: string): (url: URL) => boolean {
  const isPlain = entry.startsWith(plainHttp);
  const hostPort = isPlain ? entry.slice(plainHttp.length) : entry;
  const [, host = hostPort, port] = /^(.*?)(?::(\d+))?$/.exec(hostPort.toLowerCase()) ?? [];
  const labels = new RegExp(
    `^${host
      .split('*')
      .map((literal) => RegExp.escape(literal))
      .join('[^.:]+')}$`,
  );
  return (url) =>
    (!isPlain || url.protocol === 'http:') && labels.test(url.hostname) && portOf(url) === (port ?? defaultPortOf(url));
}

function portOf(url: URL): string {
  return url.port === '' ? defaultPortOf(url) : url.port;
}

function defaultPortOf(url: URL): string {
  return url.protocol === 'http:' ? '80' : '443';
}
