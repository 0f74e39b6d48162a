import { spawn } from 'node:child_process';
import { kill } from 'node:process';
import { abortable } from '../../../mirror/concurrency/abortable-wait.ts';
import type { Waiting } from '../../../mirror/ports/waiting.ts';
import { UpstreamError } from '../../../oci/errors.ts';
import type { SettingsOf } from '../../settings.ts';
import { credentialFailure } from '../credential-failure.ts';
import { type AccountDeps, type Credentials, type Secret, serverAddressOf } from '../credentials.ts';
import { RenewedSecret } from '../renewed-secret.ts';
import { parseJsonObject } from '../../../oci/json.ts';

/**
 * A program that speaks the protocol of Docker's credential helpers: `get` with the registry's address on its standard input, JSON on its
 * standard output. It runs again when its answer is older than `lifetimeMs`, or was refused.
 * Source: docker/docker-credential-helpers, "Development".
 */
export function createExecCredentials(
  { command, args, lifetimeMs, timeoutMs }: SettingsOf<'exec'>,
  { account, registry, clock, observer, closing }: AccountDeps,
): Credentials {
  const renewed = new RenewedSecret({
    fetch: async (waiting) => {
      const signal = closing ? AbortSignal.any([waiting.signal, closing]) : waiting.signal;
      const secret = await askHelper({ command, args, server: serverAddressOf(registry) }, { signal });
      return { secret, renewAtMs: clock.now() + lifetimeMs, endsAtMs: clock.now() + 2 * lifetimeMs };
    },
    timeoutMs,
    clock,
    observer,
    registry,
    account,
  });
  return { account, secret: (options) => renewed.current(options), forget: (secret) => renewed.forget(secret) };
}

export interface HelperQuestion {
  readonly command: string;
  readonly args: readonly string[];
  readonly server: string;
}

/** A helper's output if it has no entry for the registry (docker-credential-helpers, `credentials.NewErrCredentialsNotFound`). */
const notFound = 'credentials not found in native keychain';
const maxAnswerBytes = 64 * 1024;

/**
 * @returns undefined when the helper has no entry for the registry.
 * @throws UpstreamError when it fails; the error holds no output, which may contain a secret.
 */
async function askHelper(question: HelperQuestion, { signal }: Waiting): Promise<Secret | undefined> {
  const { command } = question;
  try {
    const { code, output } = await run(question, signal);
    if (code === 0) return parseAnswer(output, command);
    if (output.trim() === notFound) return undefined;
    throw new UpstreamError('refused', `${command} exited with ${code}`);
  } catch (cause) {
    throw credentialFailure(command, signal.aborted ? signal.reason : cause);
  }
}

/** The helper leads a process group, so that programs it started are killed with it. */
async function run({ command, args, server }: HelperQuestion, signal: AbortSignal) {
  signal.throwIfAborted();
  const ended = Promise.withResolvers<number | null>();
  const helper = spawn(command, [...args, 'get'], { stdio: ['pipe', 'pipe', 'ignore'], detached: true });
  const end = () => killGroup(helper.pid);
  signal.addEventListener('abort', end, { once: true });
  helper.on('error', ended.reject).on('close', ended.resolve);
  // It may exit without reading its input.
  helper.stdin.on('error', () => {}).end(server);
  let output = '';
  helper.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (output.length > maxAnswerBytes) end();
  });
  // A child process that it started may keep its output open for ever.
  const code = await abortable(ended.promise, signal).finally(() => signal.removeEventListener('abort', end));
  return { code, output };
}

function killGroup(leader: number | undefined): void {
  try {
    if (leader !== undefined) kill(-leader, 'SIGKILL');
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ESRCH')) throw cause; // All have exited already.
  }
}

function parseAnswer(output: string, command: string): Secret {
  const { Username: username, Secret: secret } = parseJsonObject(output) ?? {};
  if (typeof username !== 'string' || typeof secret !== 'string') {
    throw new UpstreamError('refused', `${command} printed no valid credentials`);
  }
  return username === '<token>'
    ? { kind: 'identity-token', token: secret }
    : { kind: 'basic', username, password: secret };
}
