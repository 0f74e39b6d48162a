import type { IsPrivateAddress } from './private-addresses.ts';
import type { Lookup } from './shared-lookup.ts';

/** Refuses a name if any of its addresses is private: those that are about to be dialled, also where they were found for somebody else. */
export function publicLookup(lookup: Lookup, isPrivate: IsPrivateAddress): Lookup {
  return async (hostname, options) => {
    const addresses = await lookup(hostname, options);
    if (addresses.some(({ address }) => isPrivate(address))) throw new PrivateAddressError(hostname);
    return addresses;
  };
}

/** A name that the upstream sent us to resolves to an address that may not be dialled. */
export class PrivateAddressError extends Error {
  override readonly name = 'PrivateAddressError';

  constructor(hostname: string) {
    super(`${hostname} resolves to a private address, and is not in realmHosts or redirectHosts`);
  }
}
