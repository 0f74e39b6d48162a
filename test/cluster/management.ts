import { until } from './cluster.ts';
import { type Release, secretOf } from './release.ts';
import { type Scenario, seconds } from './scenario.ts';
import { touchPods } from './rotation.ts';
import { namespace } from './stage.ts';

const secret = 'layerwell-management';
const [first, next] = ['first-token-of-the-operators-0123456789', 'next-token-of-the-operators-0123456789'];

/** The management API and its pages with a token: in the pod, by a forwarded port, and by the names of the Service. */
export const management: readonly Scenario[] = [
  {
    key: 'management',
    name: 'Management API with a token: `layerwell stats` in the pod, `kubectl port-forward` of the Service, by its names',
    run: async (release) => {
      await applyToken(release, first);
      await release.upgrade({ management: { existingSecret: secret } });
      await release.allReady();
      const [pod = ''] = await release.pods();
      const { cluster } = release.stage;
      const { stdout } = await cluster.kubectl(['exec', pod, '--namespace', namespace, '--', 'layerwell', 'stats']);
      const problems = [
        ...(stdout.includes('hit ratio') ? [] : [`layerwell stats: ${stdout}`]),
        ...wrongAnswers('by port-forward', await askedByPortForward(release)),
        ...wrongAnswers('by the name of the Service', await askedByName(release, first)),
      ];
      return { problems };
    },
  },
  {
    key: 'management',
    name: 'Rotation of the token of the management API',
    run: async (release) => {
      await applyToken(release, next);
      await touchPods(release);
      const isAccepted = async () => (await askedByName(release, next)).startsWith('200 ');
      const acceptedMs = await until('the next token is accepted', isAccepted, { withinMs: 150_000 });
      const former = await askedByName(release, first);
      await release.upgrade({ management: { existingSecret: '' } });
      await release.allReady();
      const problems = former.startsWith('401 ') ? [] : [`the former token was answered ${former}`];
      return { note: `used after ${seconds(acceptedMs)}, without a restart`, problems };
    },
  },
];

async function applyToken({ stage: { cluster } }: Release, token: string): Promise<void> {
  await cluster.apply(JSON.stringify(secretOf(secret, { token })), namespace);
}

/** Prints the answers to the API with a token, to the API without one, and to a browser that has not signed in. */
const ask = `
  const [url, token] = process.argv.slice(1);
  const statusOf = async (path, headers = {}) =>
    (await fetch(url + path, { headers, redirect: 'manual', signal: AbortSignal.timeout(5000) })).status;
  const api = '/api/v1/stats';
  (async () => {
    const answers = [await statusOf(api, { authorization: 'Bearer ' + token }), await statusOf(api), await statusOf('/')];
    console.log(answers.join(' '));
  })();`;

function wrongAnswers(how: string, answers: string): readonly string[] {
  return answers === '200 401 303' ? [] : [`${how}: ${answers} instead of 200 401 303`];
}

function askedByName({ stage }: Release, token: string): Promise<string> {
  const url = `http://layerwell-management.${namespace}.svc:5001`;
  return stage.inClient(['node', '-e', ask, url, token]);
}

/** A port of its own for each run: kubectl chooses it and prints it. */
async function askedByPortForward({ stage: { cluster } }: Release): Promise<string> {
  const script = `
    log=$(mktemp)
    kubectl port-forward --namespace ${namespace} service/layerwell-management :5001 > $log &
    trap "kill $!; rm $log" EXIT
    for nth in $(seq 100); do grep -q 127.0.0.1 $log && break; sleep 0.1; done
    port=$(sed -n 's/^Forwarding from 127.0.0.1:\\([0-9]*\\) .*/\\1/p' $log)
    ${process.execPath} -e "$ASK" http://localhost:$port ${first}`;
  return (
    await cluster.shell(`ASK='${ask.replaceAll("'", String.raw`'\''`)}'\n${script}`, { withinMs: 30_000 })
  ).stdout.trim();
}
