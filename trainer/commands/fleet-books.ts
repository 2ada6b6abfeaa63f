import type { Tier } from '../../runtime/contracts/label.ts';
import { Repository } from '../fleet/repository.ts';
import { alphaInterval, cohenKappa, fleissKappa } from '../labels/agreement.ts';
import { type LabelItem, type LabelItems, labelItems } from '../labels/items.ts';
import { labelQueue } from '../labels/queue.ts';
import { tierState } from '../labels/tiers.ts';
import { Refusal } from '../refusal.ts';
import { readServerConfiguration } from '../server/configuration.ts';
import { openBooks } from '../server/open-books.ts';
import { type ParsedArguments, textOption } from './command.ts';

/** Of windows labelled by so many or more of the same two, or the same number of annotators, a kappa is told. */
const LEAST_SHARED = 2;

/** What a server's books know of each site's windows and labels. */
async function itemsOf(path: string): Promise<Map<string, LabelItems>> {
  const configuration = await readServerConfiguration(path);
  const sites = await (await Repository.open(configuration.repository)).sites();
  const { store, close } = await openBooks(configuration, process.env.DATABASE_URL, () => {});
  try {
    const found = new Map<string, LabelItems>();
    for (const site of sites) found.set(site, labelItems(await store.arrivals(site, 'signal'), await store.arrivals(site, 'label')));
    return found;
  } finally {
    await close();
  }
}

/**
 * `tremolo fleet label server.yaml --queue | --agreement`.
 *
 * @throws Refusal usage/arguments, server/configuration, server/database
 */
export async function labelBooks([, path, ...more]: readonly string[], args: ParsedArguments): Promise<Record<string, unknown>> {
  if (path === undefined || more.length > 0 || (args.values.queue === true && args.values.agreement === true))
    throw new Refusal('usage/arguments', 'write fleet label server.yaml --queue, or --agreement; see tremolo fleet --help');
  const sites = await itemsOf(path);
  return args.values.queue === true ? showQueue(sites, args) : showAgreement(sites);
}

function showQueue(sites: ReadonlyMap<string, LabelItems>, args: ParsedArguments): Record<string, unknown> {
  const who = { annotator: textOption(args, 'annotator') ?? '', isExpert: textOption(args, 'tier') === ('expert' satisfies Tier) };
  const queue = [...sites].flatMap(([site, { items }]) => {
    const known = new Map(items.map((item) => [item.id, item]));
    // What no signal brought has no decision that a label could tell something of.
    const asked = labelQueue(
      items.filter(({ evidence }) => evidence),
      who,
    );
    return asked.map(({ id, tier, information }) => {
      const { gateway, stream, epoch, endSequence } = known.get(id)!;
      return { site, gateway, stream, epoch, endSequence, tier, information };
    });
  });
  const lines = queue.map(
    ({ site, gateway, stream, epoch, endSequence, tier, information }) =>
      `${information.toFixed(3)} nats  tremolo fleet label ${site}/${gateway} ${stream} CLASS --window ${epoch}:${endSequence} --tier ${tier}`,
  );
  process.stdout.write(`${(lines.length > 0 ? lines : ['nothing waits for a label']).join('\n')}\n`);
  return { queue };
}

/** All labels of classes that a window has, one an annotator. */
function marksOf({ marks }: LabelItem): { annotator: string; label: number }[] {
  return marks.flatMap(({ annotator, label }) => (label === undefined ? [] : [{ annotator, label }]));
}

function showAgreement(sites: ReadonlyMap<string, LabelItems>): Record<string, unknown> {
  const reports = [...sites].map(([site, { items, classes }]) => {
    const labelled = items.filter(({ marks }) => marks.length > 0);
    const shared = labelled.map(marksOf).filter((marks) => marks.length >= 2);
    const settled = labelled.filter(({ marks }) => 'label' in tierState(marks)).length;
    const experts = labelled.filter(({ marks }) => {
      const state = tierState(marks);
      return 'next' in state && state.next === 'expert';
    }).length;
    return {
      site,
      labelled: labelled.length,
      shared: shared.length,
      settled,
      waitForExpert: experts,
      cohen: cohenOfPairs(shared),
      fleiss: fleissOf(shared, classes.length),
      krippendorff: shared.length < LEAST_SHARED ? null : numbers(alphaInterval(shared.map((marks) => marks.map(({ label }) => label)))),
    };
  });
  const figure = (value: number | null) => (value === null ? 'not defined' : value.toFixed(3));
  const lines = reports.flatMap(({ site, labelled, shared, settled, waitForExpert, cohen, fleiss, krippendorff }) => [
    `${site}: ${labelled} windows labelled, ${shared} by two or more, ${settled} settled, ${waitForExpert} wait for an expert`,
    ...cohen.map(({ pair, windows, kappa }) => `  Cohen's kappa ${figure(kappa)} of ${pair.join(' and ')} on ${windows} windows`),
    ...(fleiss ? [`  Fleiss' kappa ${figure(fleiss.kappa)} of ${fleiss.annotators} annotators on each of ${fleiss.windows} windows`] : []),
    ...(krippendorff
      ? [
          `  Krippendorff's alpha ${figure(krippendorff.value)}, 95 % of draws from ${figure(krippendorff.low)} to ${figure(krippendorff.high)}`,
        ]
      : []),
  ]);
  process.stdout.write(`${lines.join('\n')}\n`);
  return { sites: reports };
}

/** JSON has no NaN: where all say one class there is no chance to go beyond. */
const orNull = (value: number) => (Number.isFinite(value) ? value : null);
const numbers = ({ value, low, high }: { value: number; low: number; high: number }) => ({
  value: orNull(value),
  low: orNull(low),
  high: orNull(high),
});

type Marks = readonly { readonly annotator: string; readonly label: number }[];

function cohenOfPairs(shared: readonly Marks[]): { pair: [string, string]; windows: number; kappa: number | null }[] {
  const pairs = new Map<string, { pair: [string, string]; a: number[]; b: number[] }>();
  for (const marks of shared) {
    const sorted = [...marks].sort((one, other) => (one.annotator < other.annotator ? -1 : 1));
    sorted.forEach((one, at) => {
      for (const other of sorted.slice(at + 1)) {
        const pair: [string, string] = [one.annotator, other.annotator];
        const found = pairs.get(pair.join(' ')) ?? { pair, a: [], b: [] };
        found.a.push(one.label);
        found.b.push(other.label);
        pairs.set(pair.join(' '), found);
      }
    });
  }
  return [...pairs.values()]
    .filter(({ a }) => a.length >= LEAST_SHARED)
    .map(({ pair, a, b }) => ({ pair, windows: a.length, kappa: orNull(cohenKappa(a, b)) }));
}

/** Of the windows that most often have the same number of labels: Fleiss' kappa takes no gaps. */
function fleissOf(shared: readonly Marks[], classes: number): { annotators: number; windows: number; kappa: number | null } | null {
  const bySize = new Map<number, Marks[]>();
  for (const marks of shared) bySize.set(marks.length, [...(bySize.get(marks.length) ?? []), marks]);
  const [most] = [...bySize].sort(([, a], [, b]) => b.length - a.length);
  if (!most || most[1].length < LEAST_SHARED) return null;
  const counts = most[1].map((marks) => Array.from({ length: classes }, (_, name) => marks.filter(({ label }) => label === name).length));
  return { annotators: most[0], windows: counts.length, kappa: orNull(fleissKappa(counts)) };
}
