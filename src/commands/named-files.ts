import { readPassword, readSecret, readText } from '../config/loading/files.ts';
import { inWords, type Problem } from '../config/loading/problems.ts';
import type { Config, CredentialsConfig } from '../config/schema.ts';
import { Certificate } from '../http/server/certificate.ts';
import { parseDockerConfig } from '../upstream/credentials/kinds/docker-config-file.ts';

/** A key that names a file, and the function that reads it. */
interface NamedFile {
  readonly path: readonly (string | number)[];
  readonly read: () => Promise<unknown>;
}

/**
 * The problems of the files that a running mirror would read only when it needs them: secrets, and its own certificate. Certificates
 * towards upstreams are not among them: upstreamEntries reads those.
 */
export async function fileProblems(config: Config): Promise<readonly string[]> {
  const files = [...certificateOf(config), ...credentialFiles(config)];
  const problems = await Promise.all(files.map(problemsOf));
  return problems.flat().map(inWords);
}

async function problemsOf({ path, read }: NamedFile): Promise<readonly Problem[]> {
  try {
    await read();
    return [];
  } catch (cause) {
    return [{ path, message: cause instanceof Error ? cause.message : String(cause) }];
  }
}

function certificateOf({ listen: { tls } }: Config): readonly NamedFile[] {
  const read = async () => tls && new Certificate(tls, { report: () => {} }).current();
  return [{ path: ['listen', 'tls'], read }];
}

function credentialFiles({ upstreams }: Config): readonly NamedFile[] {
  return upstreams.flatMap(({ name, credentials, mirrors }) => {
    const own = credentials.flatMap((one, index) => filesOf(one, ['upstreams', name, 'credentials', index]));
    const ofMirrors = mirrors.flatMap((mirror, position) =>
      mirror.credentials.flatMap((one, index) =>
        filesOf(one, ['upstreams', name, 'mirrors', position, 'credentials', index]),
      ),
    );
    return [...own, ...ofMirrors];
  });
}

function filesOf(config: CredentialsConfig, path: readonly (string | number)[]): readonly NamedFile[] {
  switch (config.kind) {
    case 'basic':
      return [{ path: [...path, 'passwordFile'], read: () => readPassword(config.username, config.password) }];
    case 'bearer-token':
    case 'gitlab':
      return [{ path: [...path, 'tokenFile'], read: () => readSecret(config.token) }];
    case 'google': {
      const { keyFile } = config;
      return keyFile === undefined ? [] : [{ path: [...path, 'keyFile'], read: () => readText(keyFile) }];
    }
    case 'docker-config':
      return [{ path: [...path, 'configFile'], read: () => readDockerConfig(config.configFile) }];
    case 'ecr':
    case 'ecr-public':
    case 'exec':
      return [];
  }
}

async function readDockerConfig(file: string): Promise<void> {
  const text = await readText(file);
  try {
    parseDockerConfig(text);
  } catch (cause) {
    throw new Error(`${file} is not a Docker configuration: ${cause instanceof Error ? cause.message : 'unreadable'}`, {
      cause,
    });
  }
}
