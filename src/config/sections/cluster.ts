import { z } from 'zod';
import { listenAddress, origin } from './names.ts';
import { redisKeys, redisOf } from './redis.ts';
import { chosenSecret, path, port, requiredSecret, shortName, text } from './values.ts';

/** A shorter secret can be guessed. */
export const leastSecretBytes = 32;

function secret() {
  const isLong = (value: string) => Buffer.byteLength(value) >= leastSecretBytes;
  return text().refine(isLong, `expected at least ${leastSecretBytes} bytes`);
}

const listen = z
  .strictObject({
    host: listenAddress().describe('The address to listen on; `::` is every address of the machine.').prefault('::'),
    port: port().describe('Must differ from the ports of the other listeners.').prefault(5002),
    tls: z
      .strictObject({
        certFile: path().describe('The certificate chain (PEM); re-read when it changes.'),
        keyFile: path().describe('Its private key (PEM).'),
      })
      .describe('Serves HTTPS instead of HTTP.')
      .optional(),
  })
  .describe('The listener for the other replicas.');

export const cluster = z
  .strictObject({
    redis: z
      .strictObject(redisKeys)
      .transform(redisOf)
      .describe('The Redis that the replicas share. Default: that of `index`.')
      .optional(),
    listen: listen.prefault({}),
    advertise: origin().describe(
      'Where the other replicas reach this listener, such as `http://${env:POD_IP}:5002`; `https://` if it serves TLS. An IPv6 address needs no [ ].',
    ),
    secret: secret()
      .describe(
        'The secret that replicas prove to each other who they are with: at least 32 random bytes, the same for all.',
      )
      .optional(),
    secretFile: path().describe('A file with the secret, instead of `secret`; re-read when it changes.').optional(),
    previousSecret: secret()
      .describe('A former secret that is accepted too, while replicas change to the new one.')
      .optional(),
    previousSecretFile: path().describe('A file with it, instead of `previousSecret`.').optional(),
    tls: z
      .strictObject({
        caFile: path()
          .describe("CA certificates to trust instead of the system's (PEM), for replicas that serve TLS.")
          .optional(),
      })
      .describe('TLS towards the other replicas.')
      .prefault({}),
    replicaName: shortName()
      .describe('A name of this replica for logs, such as `${env:POD_NAME}`; each start adds a random part to it.')
      .optional(),
  })
  .transform(({ secret: inline, secretFile, previousSecret, previousSecretFile, ...rest }, context) => ({
    ...rest,
    secret: requiredSecret({ key: 'secret', text: inline, file: secretFile }, context),
    previousSecret: chosenSecret({ key: 'previousSecret', text: previousSecret, file: previousSecretFile }, context),
  }))
  .describe('What replicas share: each blob and tag is asked for once, and read from the replica that has it.');
