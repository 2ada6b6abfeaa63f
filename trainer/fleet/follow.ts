import type { BrokerConfiguration } from '../../runtime/io/configuration.ts';
import { Refusal } from '../refusal.ts';
import type { Repository } from './repository.ts';
import type { ResponderCounters } from './responder.ts';
import { hasGoneBack, isWithdrawn, type Rollout } from './rollout.ts';
import { readRollout } from './rollout-store.ts';
import { FleetServer, type ServerEvents } from './server.ts';

/** How often the disk is looked at: another process may serve. */
const LOOK_MS = 200;

/** Who does not come for the broker by then will not. */
const CONNECT_MS = 10_000;

/** How long gateways are waited for that shall go back: they have their old model on disk. */
const GO_BACK_MS = 60_000;

/** Whether there is nothing more to wait for. */
function isOver(rollout: Rollout, leaving: readonly string[] | undefined, beganMs: number, nowMs: number): boolean {
  if (isWithdrawn(rollout)) return hasGoneBack(rollout) || nowMs - (rollout.endedMs ?? 0) > GO_BACK_MS;
  if (leaving) return hasGoneBack(rollout, leaving) || nowMs - beganMs > GO_BACK_MS;
  return rollout.status !== 'running';
}

/**
 * Stays with a rollout until it is over. Where nobody serves the repository, this process does; where another does and is killed, this one goes on.
 *
 * @param onLook called with each state of it
 * @param leaving gateways that it was taken back from, if it is they who are waited for
 * @throws Refusal fleet/broker; the signal's reason where it is stopped: the rollout then waits on disk
 */
export async function followRollout(
  repository: Repository,
  deployment: string,
  broker: BrokerConfiguration,
  {
    signal,
    onLook,
    rate,
    leaving,
  }: {
    readonly signal: AbortSignal;
    readonly onLook: (rollout: Rollout) => void;
    readonly rate: number;
    readonly leaving?: readonly string[];
  },
): Promise<{ readonly rollout: Rollout; readonly counters?: ResponderCounters }> {
  let server: FleetServer | undefined;
  let trouble = 'no answer';
  let look = () => {};
  const events: ServerEvents = {
    onEvent: (event, { error, warning }) => {
      if (event === 'rollout') look();
      if (event === 'broker') trouble = String(error);
      else if (error ?? warning) process.stderr.write(`${event}: ${error ?? warning}\n`);
    },
  };
  const beganMs = Date.now();
  let wasConnected = false;
  try {
    for (;;) {
      signal.throwIfAborted();
      if (server?.lost.aborted) server = undefined;
      server ??= await FleetServer.tryStart(repository, broker, events, { bytesPerSecond: rate });
      wasConnected ||= server === undefined || server.connected;
      if (!wasConnected && Date.now() - beganMs > CONNECT_MS)
        throw new Refusal(
          'fleet/broker',
          `${broker.url} cannot be reached: ${trouble}; the rollout waits: tremolo push --resume ${deployment}`,
        );
      const rollout = await readRollout(repository, deployment);
      onLook(rollout);
      if (isOver(rollout, leaving, beganMs, Date.now())) return { rollout, counters: server && { ...server.counters } };
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_MS);
        look = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  } finally {
    await server?.close();
  }
}
