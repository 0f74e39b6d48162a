import type { AccountSettings } from '../settings.ts';
import { createBasicCredentials } from './kinds/basic.ts';
import { createBearerTokenCredentials } from './kinds/bearer-token.ts';
import type { AccountDeps, Credentials } from './credentials.ts';
import { createDockerConfigCredentials } from './kinds/docker-config.ts';
import { createEcrCredentials } from './kinds/ecr.ts';
import { createEcrPublicCredentials } from './kinds/ecr-public.ts';
import { createExecCredentials } from './kinds/exec.ts';
import { createGitlabCredentials } from './kinds/gitlab.ts';
import { createGoogleCredentials } from './kinds/google.ts';

/** The account that an operator described. */
export function createCredentials(settings: AccountSettings, deps: AccountDeps): Credentials {
  switch (settings.kind) {
    case 'basic':
      return createBasicCredentials(settings, deps);
    case 'bearer-token':
      return createBearerTokenCredentials(settings, deps);
    case 'docker-config':
      return createDockerConfigCredentials(settings, deps);
    case 'exec':
      return createExecCredentials(settings, deps);
    case 'google':
      return createGoogleCredentials(settings, deps);
    case 'ecr':
      return createEcrCredentials(settings, deps);
    case 'ecr-public':
      return createEcrPublicCredentials(settings, deps);
    case 'gitlab':
      return createGitlabCredentials(settings, deps);
  }
}
