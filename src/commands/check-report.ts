import type { AccountProbe, EndpointProbe } from '../upstream/probe.ts';
import type { RateLimit } from '../upstream/transport/rate-limits.ts';
import { alignedLines } from './api/table.ts';
import type { CredentialSettings, UpstreamSettings } from '../upstream/settings.ts';

/** One upstream of a configuration: the probes of its mirrors and then of the registry, or why it was not probed. */
export type CheckedUpstream =
  | { readonly name: string; readonly notAsked: string }
  | {
      readonly name: string;
      readonly notAsked?: undefined;
      readonly settings: UpstreamSettings;
      readonly endpoints: readonly EndpointProbe[];
    };

/** An account at an address of an upstream. */
export interface Row {
  readonly upstream: string;
  readonly reached: string;
  readonly signedIn: string;
  readonly pullsLeft: string;
  /** The error, as a whole sentence. */
  readonly failure: string | undefined;
}

/** A row for each account at each address. */
export function rowsIn(checked: readonly CheckedUpstream[]): readonly Row[] {
  return checked.flatMap(rowsOf);
}

const titles: Omit<Row, 'failure'> = {
  upstream: 'UPSTREAM',
  reached: 'REACHED',
  signedIn: 'SIGNED IN',
  pullsLeft: 'PULLS LEFT',
};

/** A line for each account at each address. Credentials are named by their position in the configuration, never by their content. */
export function tableOf(checked: readonly CheckedUpstream[]): string {
  const rows = [titles, ...rowsIn(checked)];
  return alignedLines(rows.map((row) => [row.upstream, row.reached, row.signedIn, row.pullsLeft]));
}

/** The errors of all upstreams, one sentence each. */
export function failuresIn(checked: readonly CheckedUpstream[]): readonly string[] {
  return rowsIn(checked).flatMap(({ failure }) => failure ?? []);
}

function rowsOf(upstream: CheckedUpstream): readonly Row[] {
  const { name, notAsked } = upstream;
  if (notAsked !== undefined) return [{ ...nothing, upstream: name, reached: notAsked }];
  const { settings, endpoints } = upstream;
  return endpoints.flatMap((endpoint, index) => {
    const mirror = settings.mirrors?.[index];
    const address = mirror ? `${name} via mirrors[${index}]` : name;
    return rowsOfEndpoint(address, endpoint, (mirror ?? settings).credentials);
  });
}

const nothing: Row = { upstream: '', reached: '', signedIn: '', pullsLeft: '', failure: undefined };

function rowsOfEndpoint(
  address: string,
  { failure, accounts }: EndpointProbe,
  credentials: readonly CredentialSettings[],
): readonly Row[] {
  if (failure !== undefined)
    return [{ ...nothing, upstream: address, reached: 'no', failure: `${address}: ${failure}` }];
  return accounts.map((account, index) => rowOfAccount(address, account, credentialName(credentials[index], index)));
}

/** `credentials[0] (basic)` */
function credentialName(settings: CredentialSettings | undefined, index: number): string | undefined {
  return settings && `credentials[${index}] (${settings.kind})`;
}

function rowOfAccount(address: string, { signIn, why, rateLimit }: AccountProbe, credential: string | undefined): Row {
  const row = { upstream: address, reached: 'yes', pullsLeft: pullsLeft(rateLimit), failure: undefined };
  switch (signIn) {
    case 'signed-in':
      return { ...row, signedIn: `as ${credential}` };
    case 'anonymous':
      return {
        ...row,
        signedIn:
          credential === undefined ? 'anonymously' : `anonymously: ${credential} has no entry for this registry`,
      };
    case 'unchecked':
      return { ...row, signedIn: `${credential} not checked: the registry answers without credentials` };
    case 'no-token':
      return { ...row, signedIn: 'no: the token endpoint issued no token', failure: `${address}: ${why}` };
    case 'refused': {
      const who = credential === undefined ? address : `${address}, ${credential}`;
      return { ...row, signedIn: `no: ${credential ?? 'credentials required'}`, failure: `${who}: ${why}` };
    }
  }
}

function pullsLeft(limit: RateLimit | undefined): string {
  if (!limit) return 'not reported';
  const hours = limit.windowSeconds === undefined ? '' : ` in ${limit.windowSeconds / 3_600} h`;
  return `${limit.remaining} of ${limit.limit}${hours}`;
}
