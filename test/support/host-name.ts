import { type HostName, parseHostName } from '../../src/oci/reference.ts';

/** @throws Error when the text is no host name. */
export function hostName(text: string): HostName {
  const name = parseHostName(text);
  if (!name) throw new Error(`${text} is no host name`);
  return name;
}
