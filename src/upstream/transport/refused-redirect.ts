import { UpstreamError } from '../../oci/errors.ts';

/** An upstream named an address that no connection may be made to. */
export class ForbiddenPlace extends UpstreamError {
  constructor(message: string, more: { readonly cause?: unknown } = {}) {
    super('misbehaving', message, more);
  }
}

/** An upstream answered with a redirect that is not followed. */
export class RefusedRedirect extends UpstreamError {
  constructor(message: string, more: { readonly cause?: unknown } = {}) {
    super('misbehaving', message, more);
  }
}
