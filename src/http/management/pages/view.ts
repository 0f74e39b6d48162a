import type { Administration } from '../api/routes.ts';
import type { Page } from './page.ts';
import type { Session } from './sessions.ts';

/** Where clients pull. */
export interface ClientsEndpoint {
  /** Undefined: that of the request for the page. */
  readonly port: number | undefined;
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
  /** Whether it is for a visitor of the clients' listener: only what everybody may read, and no action. */
  readonly isPublic: boolean;
  /** What stands before the name of a repository in a path. */
  readonly base: '/browse' | '';
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
  const opened = URL.parse(`http://${host}`);
  const name = opened?.hostname ?? '127.0.0.1';
  const authority = port === undefined ? (opened?.host ?? name) : `${name}:${port}`;
  return { authority, url: `${isTls ? 'https' : 'http'}://${authority}`, isTls };
}
