import { freePort } from '../../test/support/free-port.ts';
import type { Owner } from '../../test/support/owner.ts';
import { StartedProcess } from '../../test/support/processes.ts';
import { tool } from '../../test/support/tools.ts';

export const toxiproxyTool = 'toxiproxy-server';

export type ToxicType = 'timeout' | 'latency' | 'bandwidth' | 'reset_peer';
/** `upstream`: towards the server only. `downstream`: towards the client only. */
export type Directions = readonly ('upstream' | 'downstream')[];

/** What is wrong with a link, by the words of Toxiproxy. `refused`: its connections are closed, and new ones are refused. */
export type LinkFault =
  | { readonly kind: 'refused' }
  | {
      readonly kind: 'toxic';
      readonly type: ToxicType;
      readonly attributes: Readonly<Record<string, number>>;
      readonly directions: Directions;
    };

const apiWithinMs = 10_000;

/** One way from a process to a server, through Toxiproxy. */
export class Link {
  readonly port: number;
  readonly #url: string;
  #toxics: string[] = [];

  constructor(port: number, url: string) {
    this.port = port;
    this.#url = url;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Until {@link mend}. */
  async fail(fault: LinkFault): Promise<void> {
    if (fault.kind === 'refused') return post(this.#url, { enabled: false });
    const { type, attributes } = fault;
    for (const stream of fault.directions) {
      const name = `${type}-${stream}`;
      await post(`${this.#url}/toxics`, { name, type, stream, attributes });
      this.#toxics.push(name);
    }
  }

  async mend(): Promise<void> {
    for (const name of this.#toxics) await asked(`${this.#url}/toxics/${name}`, { method: 'DELETE' });
    this.#toxics = [];
    await post(this.#url, { enabled: true });
  }
}

/** A running Toxiproxy. */
export class Toxiproxy {
  readonly #apiUrl: string;

  constructor(apiUrl: string) {
    this.#apiUrl = apiUrl;
  }

  /** A new way to a port of 127.0.0.1. */
  async linkTo(target: number): Promise<Link> {
    const port = await freePort();
    const name = `link-${port}`;
    await post(`${this.#apiUrl}/proxies`, { name, listen: `127.0.0.1:${port}`, upstream: `127.0.0.1:${target}` });
    return new Link(port, `${this.#apiUrl}/proxies/${name}`);
  }
}

export async function startToxiproxy(owner: Owner): Promise<Toxiproxy> {
  const port = await freePort();
  const server = new StartedProcess(tool(toxiproxyTool), ['-host', '127.0.0.1', '-port', String(port)]);
  owner(async () => void (await server.stop({ signal: 'SIGKILL' })));
  const url = `http://127.0.0.1:${port}`;
  const deadline = AbortSignal.timeout(apiWithinMs);
  while (!(await asked(`${url}/version`).catch(() => false))) deadline.throwIfAborted();
  return new Toxiproxy(url);
}

async function post(url: string, body: object): Promise<void> {
  await asked(url, { method: 'POST', body: JSON.stringify(body) });
}

/** @throws Error with the answer of Toxiproxy, if it is none of success. */
async function asked(url: string, options: { readonly method?: string; readonly body?: string } = {}): Promise<true> {
  const answer = await fetch(url, { ...options, signal: AbortSignal.timeout(apiWithinMs) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${options.method ?? 'GET'} ${url}: ${answer.status} ${text}`);
  return true;
}
