import { isIP, type LookupFunction, Socket } from 'node:net';
import dns from 'node:dns';

/**
 * Runs before every test file: a socket that would leave the machine fails, whatever opens it. Sockets over loopback and over
 * paths are left alone, so tests on real sockets cost nothing; what nock answers never becomes a socket.
 *
 * A name is resolved first, by the caller's own `lookup` where it has one, and its addresses are held to the same rule.
 * No name but `localhost` is looked up by the machine's resolver.
 */
// oxlint-disable-next-line typescript/unbound-method -- called below with the socket it was taken from
const connect = Socket.prototype.connect;
Socket.prototype.connect = function connectGuarded(this: Socket, ...args: unknown[]): Socket {
  const options = targetOf(args);
  const refusal = options && refusalFor(options);
  if (refusal) return this.destroy(refusal);
  if (options?.host !== undefined && isIP(options.host) === 0) options.lookup = guarded(options.lookup);
  return Reflect.apply(connect, this, args);
};

interface Target {
  host?: string;
  path?: string;
  lookup?: LookupFunction;
}

/** `connect` is called with options, with the array that `net.connect` makes of its arguments, or with port and host. */
function targetOf(args: readonly unknown[]): Target | undefined {
  const first: unknown = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (isTarget(first)) return first;
  return typeof args[1] === 'string' ? { host: args[1] } : undefined;
}

function isTarget(value: unknown): value is Target {
  return typeof value === 'object' && value !== null;
}

function refusalFor({ host, path, lookup }: Target): Error | undefined {
  if (path !== undefined || host === undefined || host === '' || host === 'localhost') return undefined;
  if (isIP(host) === 0) return lookup && lookup !== dns.lookup ? undefined : refusal(host);
  return isLoopback(host) ? undefined : refusal(host);
}

function guarded(lookup: LookupFunction = dns.lookup): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, address, family) => {
      const outside = error ? undefined : addressesOf(address).find((one) => !isLoopback(one));
      callback(outside === undefined ? error : refusal(`${hostname} (${outside})`), address, family);
    });
  };
}

function addressesOf(found: string | readonly dns.LookupAddress[]): readonly string[] {
  return typeof found === 'string' ? [found] : found.map(({ address }) => address);
}

function isLoopback(address: string): boolean {
  return /^127\.|^::1$|^::ffff:127\./i.test(address);
}

function refusal(host: string): Error {
  return Object.assign(new Error(`tests may not leave this machine, and this one dialled ${host}`), {
    code: 'ENETUNREACH',
  });
}
