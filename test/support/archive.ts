import { ask } from './client.ts';
import { type ApiAnswer, askApi } from './api-answers.ts';
import type { WithJobs } from './start-jobs.ts';

/** The archive of cached images, as the API sends it. @throws when it is cut, or there is none. */
export async function exported({ app, token }: WithJobs, body: object): Promise<Buffer> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const question = { method: 'POST', headers, body: JSON.stringify(body) };
  const answer = await ask({ url: app.managementUrl }, '/api/v1/export', question);
  if (answer.status !== 200) throw new Error(`answered ${answer.status}: ${answer.body.toString()}`);
  return answer.body;
}

/** Sends an archive to the API. */
export function imported({ app, token }: WithJobs, archive: Buffer, query = ''): Promise<ApiAnswer> {
  const headers = { 'content-type': 'application/x-tar' };
  return askApi(app, `/api/v1/import${query}`, { method: 'POST', token, headers, body: archive });
}
