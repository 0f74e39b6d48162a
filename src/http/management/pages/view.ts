import { isIP } from 'node:net';
import type { Administration } from '../api/routes.ts';
import type { Page } from './page.ts';
import type { Session } from './sessions.ts';

/** Where clients pull. */
export interface ClientsEndpoint {
  readonly port: number;
  readonly isTls: boolean;
}

/** What pages are made from. */
export interface PageSources {
  readonly administration: Administration;
  /** Of the listener for clients. */
  readonly clients: () => ClientsEndpoint;
}

/** A request for a page. */
export interface PageRequest {
  readonly path: string;
  readonly query: URLSearchParams;
  /** The `Host` of the request. */
  readonly host: string;
  readonly session: Session | undefined;
  readonly nowMs: number;
  /** Aborts when the visitor has left. */
  readonly signal: AbortSignal;
}

/** Makes a page. @throws Problem */
export type View = (asked: PageRequest, sources: PageSources) => Promise<Page>;

/** The mirror as clients reach it. */
export interface MirrorAddress {
  /** `mirror.test:5000`. */
  readonly authority: string;
  /** `http://mirror.test:5000`. */
  readonly url: string;
  readonly isTls: boolean;
}

/** By the host that a page was opened by, and the port of the clients' listener. Pure. */
export function mirrorAt(host: string, { port, isTls }: ClientsEndpoint): MirrorAddress {
  const hostname = URL.parse(`http://${host}`)?.hostname ?? '127.0.0.1';
  const bare = hostname.replace(/^\[|\]$/g, '');
  const authority = `${isIP(bare) === 6 ? `[${bare}]` : hostname}:${port}`;
  return { authority, url: `${isTls ? 'https' : 'http'}://${authority}`, isTls };
}
