import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import { headerOf, type Answer } from '../../transport/answer.ts';
import type { Exchange, Send } from '../../transport/exchange.ts';
import { discard } from '../../transport/read-at-most.ts';

const maxHops = 5;

/**
 * Sends a token request and follows redirects within the origin of the token endpoint, with the same method, headers and body: the secret goes
 * only to the host that the registry's challenge named. A 303 after a POST is not followed, because its GET would carry no secret.
 * @throws UpstreamError misbehaving for a redirect to another origin, to no URL, or after five redirects.
 */
export async function sendWithinOrigin(send: Send, exchange: Exchange, waiting: Waiting): Promise<Answer> {
  let { url } = exchange;
  for (let hop = 0; hop <= maxHops; hop++) {
    const answer = await send({ ...exchange, url }, waiting);
    if (!isRedirect(answer, exchange)) return answer;
    await discard(answer);
    url = nextHop(answer);
  }
  throw new UpstreamError(
    'misbehaving',
    `the token endpoint at ${exchange.url.host} redirects more than ${maxHops} times`,
  );
}

function isRedirect({ status }: Answer, { method }: Exchange): boolean {
  return [301, 302, 307, 308].includes(status) || (status === 303 && method === 'GET');
}

function nextHop({ url, headers }: Answer): URL {
  const location = headerOf(headers, 'location');
  const next = location === undefined ? null : URL.parse(location, url);
  if (next?.origin === url.origin && next.username === '' && next.password === '') return next;
  throw new UpstreamError(
    'misbehaving',
    `the token endpoint at ${url.host} redirects to another origin, where no credentials go`,
  );
}
