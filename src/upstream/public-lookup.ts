import { lookup as resolve } from 'node:dns';
import type { LookupFunction } from 'node:net';
import type { IsPrivateAddress } from './private-addresses.ts';

/** Resolves names for a socket that is about to connect, and refuses a name if any of its addresses is private. */
export function publicLookup(isPrivate: IsPrivateAddress): LookupFunction {
  return (hostname, options, done) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return done(error, []);
      if (addresses.some(({ address }) => isPrivate(address))) return done(new PrivateAddressError(hostname), []);
      return options.all === true
        ? done(null, addresses)
        : done(null, addresses[0]?.address ?? '', addresses[0]?.family);
    });
  };
}

/** A name that the upstream sent us to resolves to an address that may not be dialled. */
export class PrivateAddressError extends Error {
  override readonly name = 'PrivateAddressError';

  constructor(hostname: string) {
    super(`${hostname} resolves to a private address, and is not in realmHosts or redirectHosts`);
  }
}
