import type { Waiting } from '../../mirror/ports/waiting.ts';
import { apiUrl } from '../api/asking.ts';
import { type EndpointDeps, sendTo } from './endpoint.ts';
import type { Answer, Send } from '../transport/exchange.ts';
import { discard } from '../api/read-at-most.ts';

/** What a registry says at its front door. @throws UpstreamError when nobody answers. */
export async function knock(send: Send, url: URL, { signal }: Waiting, authorization?: string): Promise<Answer> {
  const headers = authorization === undefined ? {} : { authorization };
  const answer = await send({ method: 'GET', url: apiUrl(url, ''), kind: 'ping', headers }, { signal });
  await discard(answer);
  return answer;
}

/** Knocks at one address after the other until somebody answers, whatever it is. The observer is told what came of it. */
export async function knockInTurn(addresses: readonly EndpointDeps[], options: Waiting): Promise<void> {
  for (const address of addresses) {
    try {
      await knock(sendTo(address), address.url, options);
      return;
    } catch {
      // The observer knows; perhaps somebody answers at the next.
    }
  }
}
