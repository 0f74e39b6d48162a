import { type OpenAnswer, open, type Question } from './client.ts';

/** An event as a listener of `GET /api/v1/events` gets it. */
export interface StreamedEvent {
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** The whole CloudEvent. */
  readonly event: Readonly<Record<string, unknown>>;
}

/** Listens to the events of a mirror. */
export async function listen(
  { managementUrl }: { readonly managementUrl: string },
  question: Question = {},
): Promise<EventListener> {
  return new EventListener(await open({ url: managementUrl }, '/api/v1/events', question));
}

export class EventListener {
  readonly answer: OpenAnswer;
  #text = '';

  constructor(answer: OpenAnswer) {
    this.answer = answer;
  }

  /** The next event that `isIt` takes; others are passed over. @throws when the stream ends before. */
  async next(isIt: (event: StreamedEvent) => boolean = () => true): Promise<StreamedEvent> {
    for (;;) {
      const end = this.#text.indexOf('\n\n');
      if (end === -1) {
        this.#text += (await this.answer.read(1)).toString();
        continue;
      }
      const frame = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 2);
      const event = eventIn(frame);
      if (event && isIt(event)) return event;
    }
  }

  /** The next of a type, by the end of its name. */
  nextOf(type: string): Promise<StreamedEvent> {
    return this.next((event) => event.type === `io.layerwell.${type}`);
  }
}

function eventIn(frame: string): StreamedEvent | undefined {
  const fields = new Map(frame.split('\n').map((line) => [line.split(': ', 1)[0], line.slice(line.indexOf(': ') + 2)]));
  const data = fields.get('data');
  if (data === undefined) return undefined;
  const event: unknown = JSON.parse(data);
  const { id, type, subject, data: said } = Object(event);
  if (id !== fields.get('id') || type !== fields.get('event')) throw new Error(`the fields differ: ${frame}`);
  return { id, type, subject, data: said, event: Object(event) };
}
