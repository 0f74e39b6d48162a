import { proxyUrl } from '../sections/names.ts';
import type { Problem } from './problems.ts';

/** The proxies between the mirror and the registries. */
export interface Proxies {
  readonly http?: string | undefined;
  readonly https?: string | undefined;
  readonly except: readonly string[];
}

/** As in Go's net/http, requests to this machine never use the environment's proxy. */
const thisMachine = ['localhost', '127.0.0.0/8', '::1'];

/**
 * The proxies in HTTP_PROXY, HTTPS_PROXY and NO_PROXY, upper or lower case; lower case wins, as with curl. A proxy without a scheme is an
 * HTTP proxy.
 */
export function environmentProxies(env: Readonly<Record<string, string | undefined>>): {
  readonly proxies: Proxies;
  readonly problems: readonly Problem[];
} {
  const problems: Problem[] = [];
  const proxyIn = (name: string): string | undefined => {
    const text = valueOf(env, name);
    if (text === undefined) return undefined;
    const { data } = proxyUrl().safeParse(text.includes('://') ? text : `http://${text}`);
    if (data === undefined) problems.push({ path: [], message: unusable(name) });
    return data;
  };
  const proxies = { http: proxyIn('HTTP_PROXY'), https: proxyIn('HTTPS_PROXY') };
  const listed = (valueOf(env, 'NO_PROXY') ?? '').split(',').map((entry) => entry.trim());
  return { proxies: { ...proxies, except: [...thisMachine, ...listed.filter((entry) => entry !== '')] }, problems };
}

/** The upstream's own proxies if it names any, else the environment's with the upstream's exceptions. */
export function chosenProxies(own: Proxies, fromEnvironment: Proxies): Proxies {
  if (own.http !== undefined || own.https !== undefined) return own;
  return { ...fromEnvironment, except: [...fromEnvironment.except, ...own.except] };
}

function valueOf(env: Readonly<Record<string, string | undefined>>, name: string): string | undefined {
  const value = env[name.toLowerCase()] ?? env[name];
  return value === '' ? undefined : value;
}

function unusable(name: string): string {
  return `the environment variable ${name}: expected the URL of an HTTP proxy such as "http://proxy.example.com:3128"`;
}
