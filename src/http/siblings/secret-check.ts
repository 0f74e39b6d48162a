import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { OciError } from '../../oci/errors.ts';
import type { Handler } from '../server/context.ts';

/** The bearer secrets that siblings may send. Two while they are rotated. */
export interface SiblingSecrets {
  readonly secret: string;
  readonly previousSecret?: string | undefined;
}

/**
 * Compares the secret of a request with those that are accepted, in a time that depends on neither: hashes of equal length are compared,
 * each with every accepted one.
 */
export class SecretCheck {
  #accepted: readonly Buffer[] = [];

  constructor(secrets: SiblingSecrets) {
    this.follow(secrets);
  }

  /** From now on these are accepted. Without a secret nothing is. */
  follow({ secret, previousSecret = '' }: SiblingSecrets): void {
    this.#accepted = [secret, previousSecret].filter((accepted) => accepted !== '').map(hashOf);
  }

  accepts(secret: string): boolean {
    const hash = hashOf(secret);
    return this.#accepted.map((accepted) => timingSafeEqual(accepted, hash)).includes(true);
  }
}

/**
 * Refuses requests without an accepted secret: 401 without a challenge. The connection is closed, so that guessing costs one connection a
 * guess. To be used before anything of the request is looked at.
 */
export function requireSecret(check: Pick<SecretCheck, 'accepts'>): Handler {
  return (ctx, next) => {
    if (check.accepts(bearerOf(ctx.req))) return next();
    ctx.set('Connection', 'close');
    throw new OciError('UNAUTHORIZED', 'the secret is missing, or is not one that is accepted');
  };
}

/** Empty for any other scheme. */
function bearerOf({ headers }: IncomingMessage): string {
  return /^Bearer (.*)$/.exec(headers.authorization ?? '')?.[1] ?? '';
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
