import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';
import { unmapped } from '../server/exchange.ts';

/** The proxies whose forwarding header is believed, and which header that is. */
export interface TrustedProxies {
  /** Addresses and CIDR blocks, such as `10.0.0.0/8`. */
  readonly addresses: readonly string[];
  readonly header: 'x-forwarded-for' | 'forwarded';
}

/** Where a request came from. */
export interface Origin {
  /** The address of the client, as far as it is known. */
  readonly client: string | undefined;
  /** The address at the other end of the connection, if that is a trusted proxy that named the client. */
  readonly proxy: string | undefined;
}

/** More hops than any request makes; the further ones are not read. */
const maxHops = 32;

/**
 * Finds the address of the client behind trusted proxies. Every proxy appends the address that it was reached from, so the header is read from
 * its end: the first address that is not a trusted proxy is the client's. What is before it was written by the client, and is not read.
 */
export class ClientAddresses {
  readonly #trusted = new BlockList();
  readonly #header: TrustedProxies['header'];

  constructor({ addresses, header }: TrustedProxies) {
    this.#header = header;
    for (const entry of addresses) addTo(this.#trusted, entry);
  }

  of({ socket, headers }: Pick<IncomingMessage, 'socket' | 'headers'>): Origin {
    const peer = unmapped(socket.remoteAddress);
    if (peer === undefined || !this.#isTrusted(peer)) return { client: peer, proxy: undefined };
    const client = this.#firstUntrusted(hopsIn(headers, this.#header));
    return client === undefined ? { client: peer, proxy: undefined } : { client, proxy: peer };
  }

  /** @param hops the last one first. @returns the last trusted address if all are, or if an unknown one follows; undefined if there is none. */
  #firstUntrusted(hops: readonly (string | undefined)[]): string | undefined {
    let last: string | undefined;
    for (const hop of hops) {
      if (hop === undefined) return last;
      last = hop;
      if (!this.#isTrusted(hop)) return hop;
    }
    return last;
  }

  #isTrusted(address: string): boolean {
    return this.#trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  }
}

function addTo(list: BlockList, entry: string): void {
  const [address = '', bits] = entry.split('/');
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  if (bits === undefined) list.addAddress(address, family);
  else list.addSubnet(address, Number(bits), family);
}

/** The addresses in the header, the last one first; undefined for what is no address (RFC 7239 §6: `unknown`, `_hidden`). */
function hopsIn(headers: IncomingHttpHeaders, name: TrustedProxies['header']): readonly (string | undefined)[] {
  const value = headers[name];
  const text = Array.isArray(value) ? value.join(',') : (value ?? '');
  if (text === '') return [];
  const elements = text.split(',').slice(-maxHops).toReversed();
  return elements.map((element) => addressIn(name === 'forwarded' ? forIn(element) : element.trim()));
}

/** `for=` of one element of `Forwarded` (RFC 7239 §4). A quoted text with a comma gives no address. */
function forIn(element: string): string {
  return /(?:^|;)\s*for=(?:"([^"\\]*)"|([^;"\s]*))/i.exec(element)?.slice(1).join('') ?? '';
}

/** `10.0.0.1`, `10.0.0.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`. */
function addressIn(text: string): string | undefined {
  const bracketed = /^\[([0-9a-f:.]+)\](?::\d+)?$/i.exec(text)?.[1];
  const [address = ''] = (bracketed ?? /^([0-9.]+):\d+$/.exec(text)?.[1] ?? text).split('%', 1); // Without a zone.
  return isIP(address) === 0 ? undefined : unmapped(address);
}
