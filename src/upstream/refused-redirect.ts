import { UpstreamError } from '../oci/errors.ts';

/** An address that an upstream sent us to, and that may not be dialled. */
export class ForbiddenPlace extends UpstreamError {
  constructor(message: string, more: { readonly cause?: unknown } = {}) {
    super('misbehaving', message, more);
  }
}

/** An answer that was a redirect, to where nobody is asked. */
export class RefusedRedirect extends UpstreamError {
  constructor(message: string, more: { readonly cause?: unknown } = {}) {
    super('misbehaving', message, more);
  }
}
