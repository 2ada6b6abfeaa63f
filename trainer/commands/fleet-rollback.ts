import { askBroker } from '../fleet/known-gateways.ts';
import type { Repository } from '../fleet/repository.ts';
import { hasGoneBack, newestAt, type Rollout, reachedBy, recall } from '../fleet/rollout.ts';
import { changeRollout, readRollouts } from '../fleet/rollout-store.ts';
import { type KnownGateway, parseSelector, select } from '../fleet/selector.ts';
import { Refusal } from '../refusal.ts';
import { type ParsedArguments, textOption } from './command.ts';
import { brokerOption } from './fleet-options.ts';
import { showRollout } from './push.ts';

/** Gateways that a selector may mean: those that were ever pushed to; with conditions, what the broker knows of them too. */
async function knownTo(
  repository: Repository,
  rollouts: readonly Rollout[],
  args: ParsedArguments,
  isAsked: boolean,
): Promise<KnownGateway[]> {
  const said = isAsked ? (await askBroker(brokerOption(args), await repository.sites())).gateways() : [];
  const pushedTo = [...new Set(rollouts.flatMap(reachedBy))].map((name): KnownGateway => ({ name }));
  return [...pushedTo, ...said];
}

/**
 * Takes from each gateway that a selector means the newest push that it runs, and waits until they have gone back.
 *
 * @throws Refusal usage/selector; fleet/rollout where none of them runs anything that was pushed
 */
export async function rollbackGateways(
  repository: Repository,
  selector: string,
  args: ParsedArguments,
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  const wish = parseSelector(selector);
  const rollouts = await readRollouts(repository);
  const gateways = select(wish, await knownTo(repository, rollouts, args, wish.conditions.length > 0));
  const leaving = new Map<string, string[]>();
  const others: string[] = [];
  for (const gateway of gateways) {
    const newest = newestAt(rollouts, gateway)?.deployment;
    if (newest === undefined) others.push(gateway);
    else leaving.set(newest, [...(leaving.get(newest) ?? []), gateway]);
  }
  if (leaving.size === 0)
    throw new Refusal(
      'fleet/rollout',
      `nothing to take back: ${selector} runs nothing that was pushed from here; see tremolo fleet status`,
    );
  for (const gateway of others) process.stderr.write(`${gateway} runs nothing that was pushed from here\n`);
  const reason = textOption(args, 'reason') ?? 'taken back by hand';
  for (const [deployment, names] of leaving)
    await changeRollout(repository, deployment, (rollout) => recall(rollout, names, reason, Date.now()), new Date());
  const reports: Record<string, unknown>[] = [];
  for (const [deployment, names] of leaving)
    reports.push(await showRollout(repository, deployment, args, signal, (rollout) => hasGoneBack(rollout, names), names));
  return { gateways: [...leaving.values()].flat(), rollouts: reports };
}
