import { pin as pinSchema, pins as pinsSchema } from '../../http/management/api/content/pins-routes.ts';
import { answerAs, apiOf, exitCodeOf, type MirrorChoice, type Output, printable, tryJson } from '../api/client.ts';
import { bytesText } from '../../http/management/pages/drawing/words.ts';
import { alignedLines } from '../api/table.ts';

export interface PinsOptions extends MirrorChoice, Output {
  readonly json: boolean;
}

export interface PinOptions extends PinsOptions {
  /** `docker.io/library/nginx:1.27`, `…@sha256:…`, a repository, or a glob. */
  readonly image: string;
}

/** A pin of many repositories is measured first. */
const pinsWithinMs = 2 * 60_000;

/** Pins in the running mirror: it is not evicted. @returns the exit code: see exitCodes. */
export function pin(options: PinOptions): Promise<number> {
  return change('POST', options);
}

/** Removes a pin. @returns the exit code: see exitCodes. */
export function unpin(options: PinOptions): Promise<number> {
  return change('DELETE', options);
}

/** Prints what is never evicted. @returns the exit code: see exitCodes. */
export function pins(options: PinsOptions): Promise<number> {
  const { json, print } = options;
  return exitCodeOf(async () => {
    const api = await apiOf(options);
    const items: unknown[] = [];
    let [pinnedBytes, isReadable] = [0, true];
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const answer: unknown = await api(`pins?limit=1000${cursor && `&cursor=${cursor}`}`);
      const page = answerAs(pinsSchema, answer);
      items.push(...page.items);
      ({ nextCursor: cursor, pinnedBytes, isReadable } = page);
    }
    if (json) return print(`${JSON.stringify({ items, pinnedBytes, isReadable }, null, 2)}\n`);
    const rows = items.map((item) => answerAs(pinSchema, item, tryJson));
    print(
      alignedLines([
        ['PIN', 'SINCE'],
        ...rows.map(({ pin: text, pinnedAt }) => [text, pinnedAt ?? 'by the configuration']),
        [
          isReadable
            ? `${bytesText(pinnedBytes)} pinned`
            : 'the disk cannot read the pins: nothing is evicted until it can',
        ],
      ]),
    );
  }, options);
}

function change(method: 'POST' | 'DELETE', options: PinOptions): Promise<number> {
  const { image, json, print } = options;
  return exitCodeOf(async () => {
    const api = await apiOf(options);
    const answer = await (method === 'POST'
      ? api('pins', { method, body: { pin: image }, withinMs: pinsWithinMs })
      : api(`pins?pin=${encodeURIComponent(image)}`, { method, withinMs: pinsWithinMs }));
    if (json) return print(`${JSON.stringify(answer, null, 2)}\n`);
    const { pin: text } = answerAs(pinSchema, answer, tryJson);
    print(`${printable(text)} ${method === 'POST' ? 'is pinned' : 'is pinned no more'}\n`);
  }, options);
}
