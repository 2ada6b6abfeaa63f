import type { GatewayWatch } from '../fleet/gateway-watch.ts';
import { askBroker } from '../fleet/known-gateways.ts';
import type { Repository } from '../fleet/repository.ts';
import { hasGoneBack, isOpen, pause, type Rollout, withdraw } from '../fleet/rollout.ts';
import { changeRollout, readRollouts } from '../fleet/rollout-store.ts';
import { rolloutLines } from '../fleet/rollout-view.ts';
import { Refusal } from '../refusal.ts';
import { type Command, type ParsedArguments, textOption } from './command.ts';
import { labelBooks } from './fleet-books.ts';
import { LABEL_HELP, LABEL_OPTIONS, sendLabel } from './fleet-label.ts';
import { brokerOption, FLEET_HELP, FLEET_OPTIONS, openRepository } from './fleet-options.ts';
import { rollbackGateways } from './fleet-rollback.ts';
import { resumeRollout, rolloutReport, showRollout } from './push.ts';

/** Rollouts that are over, of which a status shows so many; and names in a refusal. */
const SHOWN = 3;

function gatewayReports(watch: GatewayWatch): Record<string, unknown>[] {
  return watch.gateways().map(({ name, version, bundle, engine, state }) => {
    const update = watch.sighting(name).state;
    return {
      gateway: name,
      state,
      version,
      engine,
      // What decides, proved by the inference process; not what was sent.
      bundle: bundle && { name: bundle.name, digest: update?.running.bundle ?? bundle.digest },
      adapters: update?.running.adapters ?? {},
      update: update && {
        phase: update.phase,
        deployment: update.deployment,
        progress: update.progress,
        error: update.error,
        at: update.at,
      },
    };
  });
}

function gatewayLines(watch: GatewayWatch): string[] {
  const rows = watch.gateways().map(({ name, version, bundle, state }) => {
    const update = watch.sighting(name).state;
    const digest = (update?.running.bundle ?? bundle?.digest)?.slice(0, 12) ?? '-';
    const adapters = Object.keys(update?.running.adapters ?? {}).length;
    const doing = update
      ? `${update.phase}${update.deployment ? ` ${update.deployment}` : ''}${update.error ? `: ${update.error}` : ''}`
      : '-';
    return [name, state ?? 'unknown', version ?? '-', bundle?.name ?? '-', digest, String(adapters), doing];
  });
  const table = [['gateway', 'state', 'version', 'bundle', 'runs', 'adapters', 'update'], ...rows];
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  return table.map((row) => row.map((cell, column) => (column < row.length - 1 ? cell.padEnd(widths[column]) : cell)).join('  '));
}

async function status(args: ParsedArguments, repository: Repository): Promise<Record<string, unknown>> {
  const watch = await askBroker(brokerOption(args), await repository.sites());
  const all = await readRollouts(repository);
  const over = all.filter((rollout) => !isOpen(rollout));
  const old = new Set(args.values.all === true ? [] : over.slice(0, -SHOWN));
  const rollouts = all.filter((rollout) => !old.has(rollout));
  const more = old.size > 0 ? [`and ${old.size} older: --all`] : [];
  process.stdout.write(`${[...gatewayLines(watch), ...rollouts.flatMap(rolloutLines), ...more].join('\n')}\n`);
  return { gateways: gatewayReports(watch), rollouts: rollouts.map((rollout) => rolloutReport(rollout)), older: old.size };
}

/** The rollout named, or the only one that is meant. @throws Refusal fleet/rollout */
async function rolloutNamed(repository: Repository, id: string | undefined, isMeant: (rollout: Rollout) => boolean): Promise<string> {
  const meant = (await readRollouts(repository)).filter((rollout) => (id === undefined ? isMeant(rollout) : rollout.deployment === id));
  if (meant.length === 1) return meant[0].deployment;
  const list = meant.map(({ deployment }) => deployment).slice(-SHOWN);
  if (id === undefined && list.length > 1) throw new Refusal('fleet/rollout', `name one of ${list.join(', ')}`);
  throw new Refusal(
    'fleet/rollout',
    id === undefined ? 'there is no such rollout now; see tremolo fleet status' : `there is no rollout "${id}"; see tremolo fleet status`,
  );
}

/** Changes a rollout that is in a state for it. @throws Refusal fleet/rollout */
async function change(
  repository: Repository,
  id: string,
  isMeant: (rollout: Rollout) => boolean,
  to: (rollout: Rollout) => Rollout,
): Promise<Rollout> {
  const changed = await changeRollout(
    repository,
    id,
    (rollout) => {
      if (!isMeant(rollout)) throw new Refusal('fleet/rollout', `${id} is ${rollout.status}: that cannot be done to it now`);
      return to(rollout);
    },
    new Date(),
  );
  return changed.rollout;
}

/** What is done with the repository. */
const ACTIONS = ['status', 'pause', 'resume', 'abort', 'rollback'];

export const fleet: Command = {
  verb: 'fleet',
  summary: 'see what gateways run; pause, resume, abort or roll back a push',
  help: `usage: tremolo fleet status [options]
       tremolo fleet pause|resume|abort|rollback [ROLLOUT] [options]
       tremolo fleet rollback SELECTOR [options]
       tremolo fleet label SITE/GATEWAY STREAM CLASS [--reject] [options]
       tremolo fleet label SITE/GATEWAY STREAM --unsure [options]
       tremolo fleet label server.yaml --queue|--agreement [options]

  status     what each gateway runs, as its inference process has proved it, and how the rollouts under way and the last stand
  pause      begins no further group; if too many fail, all go back nevertheless
  resume     goes on with a paused rollout and follows it
  abort      ends a rollout that is under way: whoever has it goes back
  rollback   takes a finished push back: gateways run what they ran before; with a SELECTOR (SITE/GATEWAY, SITE/*, several with
             commas, and key=value as for push) from these gateways alone, from each its newest
${LABEL_HELP}

ROLLOUT may be left out where only one can be meant.

  --all                   with status: all rollouts there ever were
  --reason TEXT           why, for the record
${FLEET_HELP}

example: tremolo fleet status --json
         tremolo fleet rollback plant/hall
         tremolo fleet label plant/hall pump-3 bearing-outer`,
  options: { ...FLEET_OPTIONS, ...LABEL_OPTIONS, reason: { type: 'string' }, all: { type: 'boolean' } },
  positionals: 4,
  async run(args, signal) {
    const [action, id, ...more] = args.positionals;
    if (action === 'label') return args.values.queue || args.values.agreement ? labelBooks(args.positionals, args) : sendLabel(args);
    if (more.length > 0) throw new Refusal('usage/arguments', `${more.join(' ')} is one argument too many; see tremolo fleet --help`);
    if (!ACTIONS.includes(action ?? ''))
      throw new Refusal('usage/arguments', `write fleet ${ACTIONS.join(', ')} or label; see tremolo fleet --help`);
    const repository = await openRepository(args);
    const reason = textOption(args, 'reason');
    switch (action) {
      case 'status':
        return status(args, repository);
      case 'pause': {
        const isRunning = (rollout: Rollout) => rollout.status === 'running';
        const name = await rolloutNamed(repository, id, isRunning);
        const paused = await change(repository, name, isRunning, (rollout) => pause(rollout, reason ?? 'paused by hand'));
        process.stdout.write(`${name} paused\n`);
        return rolloutReport(paused);
      }
      case 'resume': {
        const name = await rolloutNamed(repository, id, (rollout) => rollout.status === 'paused');
        await resumeRollout(repository, name);
        return showRollout(repository, name, args, signal, (rollout) => rollout.status === 'finished');
      }
      case 'abort': {
        const name = await rolloutNamed(repository, id, isOpen);
        await change(repository, name, isOpen, (rollout) => withdraw(rollout, 'aborted', reason ?? 'aborted by hand', Date.now()));
        return showRollout(repository, name, args, signal, hasGoneBack);
      }
      default: {
        // No rollout's name has a slash.
        if (id?.includes('/')) return rollbackGateways(repository, id, args, signal);
        const newest = (await readRollouts(repository)).filter((rollout) => rollout.status === 'finished').at(-1);
        const name = id ?? newest?.deployment;
        if (name === undefined) throw new Refusal('fleet/rollout', 'nothing to take back: no push is finished; see tremolo fleet status');
        const known = await rolloutNamed(repository, name, () => false);
        const isFinished = (rollout: Rollout) => rollout.status === 'finished';
        await change(repository, known, isFinished, (rollout) =>
          withdraw(rollout, 'rolledBack', reason ?? 'rolled back by hand', Date.now()),
        );
        return showRollout(repository, known, args, signal, hasGoneBack);
      }
    }
  },
};
