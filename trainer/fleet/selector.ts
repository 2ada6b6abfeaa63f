import { Refusal } from '../refusal.ts';

/** What is known of a gateway that a selector can ask for. */
export interface KnownGateway {
  /** `SITE/GATEWAY`. */
  readonly name: string;
  readonly version?: string;
  /** Name and digest of the bundle that it runs. */
  readonly bundle?: { readonly name: string; readonly digest: string };
  readonly engine?: string;
  readonly state?: 'online' | 'offline';
}

export interface Selector {
  readonly names: readonly string[];
  readonly conditions: readonly { readonly key: keyof typeof CONDITIONS; readonly value: string }[];
}

/** What `key=value` compares. */
const CONDITIONS = {
  version: ({ version }: KnownGateway, value: string) => version === value,
  bundle: ({ bundle }: KnownGateway, value: string) =>
    bundle?.name === value || (value.length >= 6 && bundle?.digest.startsWith(value) === true),
  engine: ({ engine }: KnownGateway, value: string) => engine === value,
  state: ({ state }: KnownGateway, value: string) => state === value,
};

const NAME = /^[A-Za-z0-9*][A-Za-z0-9._*-]{0,63}\/[A-Za-z0-9*][A-Za-z0-9._*-]{0,63}$/;

/**
 * `plant-1/hall-3,plant-2/*,version=0.1.0`: names of gateways as SITE/GATEWAY, where `*` stands for any letters; of those, the ones for which every
 * `key=value` holds (version, bundle: its name or the first digits of its digest, engine, state).
 *
 * @throws Refusal usage/selector
 */
export function parseSelector(text: string): Selector {
  const names: string[] = [];
  const conditions: { key: keyof typeof CONDITIONS; value: string }[] = [];
  for (const word of text.split(',').map((part) => part.trim())) {
    const [key, value] = word.split('=');
    if (value !== undefined) {
      if (!Object.hasOwn(CONDITIONS, key) || value === '')
        throw new Refusal('usage/selector', `"${word}" asks for what no gateway says; there are ${Object.keys(CONDITIONS).join(', ')}`);
      conditions.push({ key: key as keyof typeof CONDITIONS, value });
    } else if (NAME.test(word)) names.push(word);
    else throw new Refusal('usage/selector', `"${word}" is no gateway; write SITE/GATEWAY, SITE/* or key=value`);
  }
  if (names.length === 0) throw new Refusal('usage/selector', `"${text}" names no gateway; begin with SITE/*`);
  return { names, conditions };
}

/** Whether the names alone say all: nobody need be asked who is there. */
export const isExact = ({ names, conditions }: Selector): boolean => conditions.length === 0 && !names.some((name) => name.includes('*'));

/**
 * The gateways that a selector means: those named first, in that order, then by name.
 *
 * @throws Refusal usage/selector where there is none
 */
export function select({ names, conditions }: Selector, known: readonly KnownGateway[]): string[] {
  const byName = new Map(known.map((gateway) => [gateway.name, gateway]));
  const sorted = [...byName.keys()].sort();
  const named = names.flatMap((name) => (name.includes('*') ? sorted.filter((other) => matches(name, other)) : [name]));
  const chosen = [...new Set(named)].filter((name) =>
    conditions.every(({ key, value }) => CONDITIONS[key](byName.get(name) ?? { name }, value)),
  );
  if (chosen.length > 0) return chosen;
  const there =
    sorted.length > 0 ? `the broker knows ${sorted.slice(0, 5).join(', ')}${sorted.length > 5 ? ' …' : ''}` : 'the broker knows none';
  throw new Refusal('usage/selector', `no gateway is meant by "${names.join(',')}" with these conditions; ${there}`);
}

function matches(pattern: string, name: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[^/]*')}$`).test(name);
}
