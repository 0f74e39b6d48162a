/** A list that is asked for, and how far into it. */
export interface MeasuredList {
  readonly name: string;
  readonly path: string;
  /** Pages that are skipped first. */
  readonly skipped: number;
}

const dayMs = 86_400_000;

/** Every order, every filter, and deep pages. */
export function measuredLists(nowMs: number): readonly MeasuredList[] {
  const before = (days: number) => new Date(nowMs - days * dayMs).toISOString();
  const orders = ['name', 'lastPull', 'size'].flatMap((sort) => ['asc', 'desc'].map((order) => ({ sort, order })));
  const filters = [
    '',
    'registry=quay.io',
    'text=application-77',
    'text=a',
    'text=nothing-has-this',
    'platform=linux/amd64',
    'platform=windows/amd64',
    'platform=plan9/mips',
    `pulledSince=${before(2)}`,
    `pulledBefore=${before(28)}`,
    'minBytes=60000000',
    'maxBytes=100000',
    `registry=quay.io&platform=linux/arm64&pulledBefore=${before(20)}&minBytes=1000000&text=team-1`,
  ];
  const lists = ['repositories', 'tags'].flatMap((items) =>
    orders.flatMap(({ sort, order }) =>
      filters.map((filter) => ({
        name: `${items} by ${sort}, ${order}${filter === '' ? '' : `, ${filter.replaceAll(/T[^&]*Z/g, '')}`}`,
        path: `/api/v1/${items}?sort=${sort}&order=${order}${filter === '' ? '' : `&${filter}`}`,
        skipped: 0,
      })),
    ),
  );
  const deep = orders.map(({ sort, order }) => ({
    name: `tags by ${sort}, ${order}, 100th page`,
    path: `/api/v1/tags?sort=${sort}&order=${order}`,
    skipped: 99,
  }));
  const nightly = orders.map(({ sort, order }) => ({
    name: `tags of a repository with 10 % of all, by ${sort}, ${order}`,
    path: `/api/v1/repositories/docker.io%2Fteam-0%2Fapplication-0/tags?sort=${sort}&order=${order}`,
    skipped: 0,
  }));
  return [...lists, ...deep, ...nightly];
}

export interface ListTimes {
  readonly name: string;
  readonly items: number;
  /** Whether the page ended before it was full. */
  readonly isShort: boolean;
  readonly medianMs: number;
  readonly p99Ms: number;
}

interface Answer {
  readonly items: readonly unknown[];
  readonly nextCursor?: string;
}

/** Asks for a list some times, one after the other. */
export async function timesOf(managementUrl: string, list: MeasuredList, times: number): Promise<ListTimes> {
  let url = `${managementUrl}${list.path}`;
  for (let page = 0; page < list.skipped; page += 1) {
    const { nextCursor } = await answerOf(url);
    url = `${managementUrl}${list.path}&cursor=${nextCursor}`;
  }
  const took: number[] = [];
  let answer = await answerOf(url);
  for (let time = 0; time < times; time += 1) {
    const startedAtMs = performance.now();
    answer = await answerOf(url);
    took.push(performance.now() - startedAtMs);
  }
  took.sort((one, other) => one - other);
  return {
    name: list.name,
    items: answer.items.length,
    isShort: answer.items.length < 100 && answer.nextCursor !== undefined,
    medianMs: took[Math.floor(took.length / 2)] ?? 0,
    p99Ms: took[Math.ceil(took.length * 0.99) - 1] ?? 0,
  };
}

async function answerOf(url: string): Promise<Answer> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answered ${response.status} ${await response.text()}`);
  return Object(await response.json());
}
