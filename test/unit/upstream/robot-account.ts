/** An account with a password, for every repository. */
export const robotAccount = {
  kind: 'basic',
  repositories: ['**'],
  username: 'robot',
  readPassword: async () => 's3cr3t',
} as const;
