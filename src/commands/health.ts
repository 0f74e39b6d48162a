import { loadManagement, type LoadOptions } from '../config/loading/load.ts';

export interface HealthOptions extends Pick<LoadOptions, 'file' | 'env'> {
  readonly json?: boolean;
  readonly print: (text: string) => void;
}

const [unhealthy, unreachable] = [1, 3];
const answersWithinMs = 4000;

/**
 * Asks the mirror that runs with this configuration file, on the same machine, whether it is alive. For the health check of a container.
 * Problems of other parts of the file do not matter: the mirror still runs with what the file said before.
 * @returns the exit code: 0, 1 when the mirror answers with an error, 3 when it does not answer.
 * @throws ConfigError when the file does not say where `/healthz` is.
 */
export async function health({ file, env, json = false, print }: HealthOptions): Promise<number> {
  const url = `http://${authorityOf(await loadManagement({ file, env }))}/healthz`;
  const { code, ...found } = await answerOf(url);
  const isAlive = code === 0;
  print(json ? `${JSON.stringify({ url, isAlive, ...found }, null, 2)}\n` : `${url}: ${found.status ?? found.error}\n`);
  return code;
}

interface Found {
  readonly code: number;
  readonly status?: number;
  readonly error?: string;
}

async function answerOf(url: string): Promise<Found> {
  try {
    const { ok, status } = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(answersWithinMs) });
    return { code: ok ? 0 : unhealthy, status };
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return { code: unreachable, error: cause instanceof Error ? cause.message : String(cause) };
  }
}

/** A listener on every address is asked at the loopback address: one of `::` takes IPv4 as well, and works where IPv6 is switched off. */
export function authorityOf({ host, port }: { readonly host: string; readonly port: number }): string {
  const address = host === '::' || host === '0.0.0.0' ? '127.0.0.1' : host;
  return `${address.includes(':') ? `[${address}]` : address}:${port}`;
}
