import { Counter, type Registry } from 'prom-client';

export interface TallyOptions<Label extends string> {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly Label[];
  readonly registry: Registry;
}

const separator = '\u0000';

/**
 * A counter for the hot path: adding to it is one look into a map, with the label values as the key. The labelled series are only
 * made when somebody scrapes.
 */
export class Tally<Label extends string> {
  readonly #values = new Map<string, number>();

  constructor({ name, help, labels, registry }: TallyOptions<Label>) {
    const values = this.#values;
    new Counter({
      name,
      help,
      labelNames: [...labels],
      registers: [registry],
      collect() {
        this.reset();
        for (const [key, value] of values) this.inc(labelled(labels, key), value);
      },
    });
  }

  /** @param labelValues in the order of the labels. */
  add(value: number, ...labelValues: readonly string[]): void {
    const key = labelValues.length === 1 ? (labelValues[0] ?? '') : labelValues.join(separator);
    this.#values.set(key, (this.#values.get(key) ?? 0) + value);
  }
}

function labelled<Label extends string>(labels: readonly Label[], key: string): Partial<Record<Label, string>> {
  const values = key.split(separator);
  const found: Partial<Record<Label, string>> = {};
  labels.forEach((label, place) => {
    found[label] = values[place] ?? '';
  });
  return found;
}
