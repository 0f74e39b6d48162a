import { BlockList, isIPv4, isIPv6 } from 'node:net';
import type { Lookup } from './shared-lookup.ts';

/** Whether an address is private. */
export type IsPrivateAddress = (address: string) => boolean;

/**
 * Addresses that redirects and token realms may not lead to unless they are listed: those that are not "globally reachable" in the IANA
 * special-purpose registries (RFC 6890), and multicast. Attackers aim at the metadata services of clouds (169.254.169.254, fd00:ec2::254;
 * CVE-2020-13788, go-containerregistry #2243).
 */
const privateIpv4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
];

/** Includes forms that embed an IPv4 address and are not needed: 6to4, Teredo, local NAT64 and the deprecated compatible form. */
const privateIpv6: readonly (readonly [string, number])[] = [
  ['::', 96],
  ['64:ff9b:1::', 48],
  ['100::', 64],
  ['2001::', 32],
  ['2002::', 16],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
];

/** Prefixes whose last 32 bits are the IPv4 address that is connected to: RFC 4291 mapped, RFC 6052 NAT64. */
const carryingIpv4: readonly string[] = ['::ffff:', '64:ff9b::'];

export function createPrivateAddressCheck(): IsPrivateAddress {
  const list = new BlockList();
  for (const [network, prefix] of privateIpv4) list.addSubnet(network, prefix, 'ipv4');
  for (const [network, prefix] of privateIpv6) list.addSubnet(network, prefix, 'ipv6');
  return (address) => {
    if (isIPv4(address)) return list.check(address, 'ipv4');
    if (!isIPv6(address)) return true;
    const carried = carriedIpv4(address);
    return carried === undefined ? list.check(address, 'ipv6') : list.check(carried, 'ipv4');
  };
}

function carriedIpv4(address: string): string | undefined {
  const canonical = new URL(`http://[${address.replace(/%.*$/, '')}]`).hostname.slice(1, -1);
  const prefix = carryingIpv4.find((known) => canonical.startsWith(known));
  return prefix === undefined ? undefined : lastFourBytes(canonical.slice(prefix.length));
}

/** `7f00:1` → `127.0.0.1`. */
function lastFourBytes(groups: string): string {
  const [high, low] = groups.includes(':') ? groups.split(':') : ['0', groups];
  const value = (parseInt(high || '0', 16) * 0x10000 + parseInt(low || '0', 16)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.');
}

/** Refuses a name if any of its addresses is private. It checks the addresses that are connected to, also if another caller looked them up. */
export function publicLookup(lookup: Lookup, isPrivate: IsPrivateAddress): Lookup {
  return async (hostname, options) => {
    const addresses = await lookup(hostname, options);
    if (addresses.some(({ address }) => isPrivate(address))) throw new PrivateAddressError(hostname);
    return addresses;
  };
}

/** A name from a redirect or a realm resolves to a private address. */
export class PrivateAddressError extends Error {
  override readonly name = 'PrivateAddressError';

  constructor(hostname: string) {
    super(`${hostname} resolves to a private address, and is not in realmHosts or redirectHosts`);
  }
}
