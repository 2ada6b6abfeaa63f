import { pino } from 'pino';
import { FleetServer } from '../fleet/server.ts';
import { Refusal } from '../refusal.ts';
import type { Command } from './command.ts';
import { brokerOption, FLEET_HELP, FLEET_OPTIONS, openRepository, rateOption } from './fleet-options.ts';

export const serve: Command = {
  verb: 'serve',
  summary: 'answer gateways and lead rollouts until it is stopped',
  help: `usage: tremolo serve [options]

Keeps the repository's signatures fresh, answers what gateways fetch, and leads every rollout that was begun with tremolo
push. Logs to stderr, one JSON object a line. One process at a time serves a repository.

${FLEET_HELP}

example: tremolo serve --repository fleet --broker mqtt://127.0.0.1:1883`,
  options: FLEET_OPTIONS,
  positionals: 0,
  async run(args, signal) {
    const repository = await openRepository(args);
    const broker = brokerOption(args);
    const log = pino({ base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
    const events = {
      onEvent: (event: string, details: Record<string, unknown>) => {
        if (details.error !== undefined || details.warning !== undefined) log.warn(details, event);
        else log.info(details, event);
      },
    };
    const server = await FleetServer.tryStart(repository, broker, events, { bytesPerSecond: rateOption(args) });
    if (!server) throw new Refusal('fleet/served', `another process serves ${repository.folder}; stop it first`);
    log.info({ repository: repository.folder, broker: broker.url }, 'serving');
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await server.close();
    return { counters: { ...server.counters } };
  },
};
