import { beginRollout, draftRollout, type Plan, readCargo, usualBudget } from '../fleet/deployment.ts';
import { followRollout } from '../fleet/follow.ts';
import type { GatewayWatch } from '../fleet/gateway-watch.ts';
import { askBroker } from '../fleet/known-gateways.ts';
import type { Repository } from '../fleet/repository.ts';
import type { ResponderCounters } from '../fleet/responder.ts';
import { hasGoneBack, isWithdrawn, type Rollout, reachedBy, resume as resumed, sitesOfRollout } from '../fleet/rollout.ts';
import { changeRollout } from '../fleet/rollout-store.ts';
import { RolloutView } from '../fleet/rollout-view.ts';
import { isExact, parseSelector, select } from '../fleet/selector.ts';
import { groupsOf } from '../fleet/waves.ts';
import { Refusal } from '../refusal.ts';
import { type Command, listOption, numberOption, type ParsedArguments, textOption } from './command.ts';
import { brokerOption, durationOption, FLEET_HELP, FLEET_OPTIONS, openRepository, rateOption } from './fleet-options.ts';

/** Options of a new push; a resumed one has its own on disk. */
const NEW_PUSH = {
  to: { type: 'string' },
  stream: { type: 'string' },
  adapt: { type: 'boolean' },
  waves: { type: 'string' },
  success: { type: 'string' },
  error: { type: 'string' },
  'silent-after': { type: 'string' },
  settle: { type: 'string' },
  agreement: { type: 'string' },
  'shadow-windows': { type: 'string' },
  'shadow-seconds': { type: 'string' },
  latency: { type: 'string' },
  'alarm-change': { type: 'string' },
  memory: { type: 'string' },
  budget: { type: 'string' },
  platform: { type: 'string', multiple: true },
} as const;

const share = { min: 0, max: 1 };

function planOf(args: ParsedArguments, gateways: readonly string[], usualBudgetBytes: number): Plan {
  const shadowSeconds = numberOption(args, 'shadow-seconds', 120, { min: 0.1, max: 86_400 });
  const silentAfterMs = durationOption(args, 'silent-after', '10m');
  if (silentAfterMs <= 1000 * shadowSeconds)
    throw new Refusal(
      'usage/arguments',
      `--silent-after is not longer than --shadow-seconds ${shadowSeconds}: nobody could succeed; give it more time`,
    );
  return {
    groups: groupsOf(textOption(args, 'waves') ?? '1,10%,100%', gateways),
    rules: {
      success: numberOption(args, 'success', 0.9, share),
      error: numberOption(args, 'error', 0.1, share),
      silentAfterMs,
      settleMs: durationOption(args, 'settle', '5s'),
    },
    thresholds: {
      shadowWindows: numberOption(args, 'shadow-windows', 40, { whole: true }),
      shadowSeconds,
      agreement: numberOption(args, 'agreement', 0.9, share),
      latencyMs: numberOption(args, 'latency', 50, { min: 0.001 }),
      alarmShareChange: numberOption(args, 'alarm-change', 0.2, share),
      memoryBytes: numberOption(args, 'memory', 128, { min: 1, max: 4096, whole: true }) * 2 ** 20,
    },
    budgetBytes: numberOption(args, 'budget', usualBudgetBytes, { min: 1, whole: true }),
    platforms: listOption(args, 'platform'),
  };
}

/** A push to a broker that is away waits on disk: who may be asked for advice only is not waited for longer, milliseconds. */
const ADVICE_MS = 2000;

/** Says at once of whom the rollout would wait for in vain. */
function warnOfAbsent(gateways: readonly string[], watch: GatewayWatch): void {
  const known = new Map(watch.gateways().map((gateway) => [gateway.name, gateway]));
  for (const name of gateways) {
    const gateway = known.get(name);
    if (!gateway) process.stderr.write(`${name}: the broker knows no such gateway; the push waits for it\n`);
    else if (gateway.state === 'online' && !watch.sighting(name).state)
      process.stderr.write(`${name} takes no updates (update.root is not set in its configuration)\n`);
  }
}

/** What to push and to whom, or which rollout to resume. @throws Refusal usage/arguments */
function wishOf(args: ParsedArguments): { resume: string } | { path: string; to: string } {
  const id = textOption(args, 'resume');
  const [path] = args.positionals;
  if (id !== undefined) {
    const other = path ?? Object.keys(NEW_PUSH).find((name) => args.values[name] !== undefined);
    if (other) throw new Refusal('usage/arguments', `${id} goes on as it was begun; leave out ${path ?? `--${other}`}`);
    return { resume: id };
  }
  const to = textOption(args, 'to');
  if (!path || !to) throw new Refusal('usage/arguments', 'name what to push and --to whom; see tremolo push --help');
  return { path, to };
}

/** A new rollout on disk; undefined after a dry run, which has printed it. */
async function newRollout(
  args: ParsedArguments,
  repository: Repository,
  { path, to }: { path: string; to: string },
): Promise<Rollout | undefined> {
  const selector = parseSelector(to);
  const cargo = await readCargo(path, { stream: textOption(args, 'stream'), adapt: args.values.adapt === true });
  const [broker, sites] = [brokerOption(args), await repository.sites()];
  const watch = isExact(selector) ? await askBroker(broker, sites, ADVICE_MS).catch(() => undefined) : await askBroker(broker, sites);
  const plan = planOf(args, select(selector, watch?.gateways() ?? []), usualBudget(cargo));
  const draft = draftRollout(cargo, plan, 1, new Date());
  // A site without a key is found out before anything is written, in a dry run too.
  for (const site of sitesOfRollout(draft)) await repository.checkCanSign(site);
  if (watch) warnOfAbsent(plan.groups.flat(), watch);
  if (!args.values['dry-run']) return beginRollout(repository, cargo, plan, new Date());
  const bytes = Object.values(draft.objects).reduce((sum, length) => sum + length, 0);
  const groups = draft.groups.map(({ gateways }, index) => `group ${index + 1}: ${gateways.join(' ') || 'nobody'}\n`);
  process.stdout.write(
    `would push ${path} (${draft.target.sha256.slice(0, 12)}, ${bytes} bytes in ${cargo.objects.size} objects)\n${groups.join('')}`,
  );
  return undefined;
}

/** Lets a paused rollout go on; one that somebody else has led to its end meanwhile stays as it is. @throws Refusal fleet/rollout */
export async function resumeRollout(repository: Repository, deployment: string): Promise<Rollout> {
  const resumeIfPaused = (rollout: Rollout) => (rollout.status === 'paused' ? resumed(rollout, Date.now()) : rollout);
  return (await changeRollout(repository, deployment, resumeIfPaused, new Date())).rollout;
}

/**
 * Follows a rollout to its end and says how that was; a rollout that did not reach its end well is exit code 1.
 *
 * @param leaving gateways that it was taken back from, if it is they who are waited for
 */
export async function showRollout(
  repository: Repository,
  deployment: string,
  args: ParsedArguments,
  signal: AbortSignal,
  isGood: (rollout: Rollout) => boolean,
  leaving?: readonly string[],
): Promise<Record<string, unknown>> {
  const view = new RolloutView();
  const followed = await followRollout(repository, deployment, brokerOption(args), {
    signal,
    rate: rateOption(args),
    leaving,
    onLook: (rollout) => view.update(rollout),
  });
  const { rollout, counters } = followed;
  if (!isGood(rollout)) process.exitCode = 1;
  const goingBack = isWithdrawn(rollout) ? reachedBy(rollout) : (leaving ?? []);
  const still = hasGoneBack(rollout, goingBack) ? [] : goingBack.filter((name) => rollout.devices[name]?.runs);
  if (still.length > 0) process.stderr.write(`still with it: ${still.join(', ')}; tremolo serve sees them back\n`);
  process.stdout.write(`${deployment} ${rollout.status}${rollout.reason === undefined ? '' : `: ${rollout.reason}`}\n`);
  return rolloutReport(rollout, counters);
}

export function rolloutReport(rollout: Rollout, counters?: ResponderCounters): Record<string, unknown> {
  const { deployment, number, status, reason, target, devices, groups, createdAt } = rollout;
  const of = (outcome: string) => Object.values(devices).filter((device) => device.outcome === outcome).length;
  const gateways = Object.fromEntries(
    groups.flatMap(({ gateways }, index) =>
      gateways.map((name) => [name, { group: index + 1, outcome: devices[name]?.outcome ?? 'waiting', error: devices[name]?.error }]),
    ),
  );
  return {
    deployment,
    number,
    status,
    reason,
    createdAt,
    target,
    confirmed: of('confirmed'),
    failed: of('failed'),
    gateways,
    ...(counters && { counters }),
  };
}

export const push: Command = {
  verb: 'push',
  summary: 'send a bundle or an adapter to gateways, in waves',
  help: `usage: tremolo push BUNDLE --to SELECTOR [options]
       tremolo push ADAPTER --stream STREAM --to SELECTOR [options]
       tremolo push --resume ROLLOUT [options]

Signs what shall run, serves it over the broker, and follows the gateways until all have confirmed: each fetches it, verifies
signatures, proves its known answers and speed, compares it with the running model on live windows, and only then lets it
decide. If too many of a group fail, the push is withdrawn and all go back. The state is on disk: after Ctrl-C or a kill,
--resume or tremolo serve goes on.

  --to SELECTOR           SITE/GATEWAY, SITE/*, several with commas; and key=value: version, bundle, engine, state
  --waves LIST            gateways or shares of all, each wave with those before it (default: 1,10%,100%)
  --success SHARE         of a group that must confirm before the next begins (default: 0.9)
  --error SHARE           of a group; when more than that fail, all go back (default: 0.1)
  --silent-after TIME     a gateway that says nothing new for so long has failed (default: 10m)
  --settle TIME           a group must be successful and well for so long before the next begins (default: 5s)
  --stream STREAM         stream that an adapter is for
  --adapt                 sends the bundle's part for learning on the gateway too
  --agreement SHARE       of shadow windows decided as the running model does; 0 where classes differ (default: 0.9)
  --shadow-windows N      windows decided in its shadow (default: 40), for at most
  --shadow-seconds N      so long (default: 120)
  --latency MS            largest p99 of one window (default: 50)
  --alarm-change SHARE    largest change of the share of windows not decided normal (default: 0.2)
  --memory MIB            largest growth of memory (default: 128)
  --budget BYTES          that it may cost one gateway (default: twice its size and 128 KiB)
  --platform NAME         only for these: linux-arm64, … (repeatable; default: all)
  --dry-run               says who would get it when, and writes nothing
${FLEET_HELP}

example: tremolo push bundle --to 'plant-1/*' --waves 1,10%,100%`,
  options: { ...FLEET_OPTIONS, ...NEW_PUSH, resume: { type: 'string' }, 'dry-run': { type: 'boolean' } },
  positionals: 1,
  async run(args, signal) {
    const wish = wishOf(args);
    const repository = await openRepository(args);
    const rollout = 'resume' in wish ? await resumeRollout(repository, wish.resume) : await newRollout(args, repository, wish);
    if (!rollout) return { dryRun: true };
    process.stderr.write(`${rollout.deployment}: goes on without this command with tremolo push --resume ${rollout.deployment}\n`);
    return showRollout(repository, rollout.deployment, args, signal, ({ status }) => status === 'finished');
  },
};
