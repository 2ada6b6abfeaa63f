import { pino } from 'pino';
import { BundleRefusal } from '../models/bundle/schema/refusal.ts';
import { startGateway } from './gateway.ts';
import { ConfigurationRefusal, readConfiguration } from './io/configuration.ts';
import { endEarly } from './io/early-thread.ts';
import { createServiceNotifier } from './io/service-notifier.ts';
import { VERSION } from './version.ts';

/** The gateway as a program: `node gateway.js gateway.yaml [--with-parent]`. Logs to stderr, one JSON object a line. Exit 0 stopped, 1 failed, 2 bad input. */
export async function main(): Promise<void> {
  const log = pino({ base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
  const [path, option, ...more] = process.argv.slice(2);
  const withParent = option === '--with-parent';
  const isWrong = !path || path.startsWith('--') || (option !== undefined && !withParent) || more.length > 0;
  if (isWrong) {
    process.stderr.write(
      'usage/arguments: takes one configuration and no options; run: node gateway.js gateway.yaml (tremolo run --check looks at one without starting)\n',
    );
    await endEarly();
    process.exit(2);
  }
  try {
    const gateway = await startGateway(await readConfiguration(path), VERSION, new URL('./', import.meta.url), log);
    const notifier = createServiceNotifier(gateway.sickness, (error) => log.warn({ error: error.message }, 'systemd-notify'));
    const stop = () => {
      notifier.stopping();
      // Whoever started this may live on and keep it open.
      process.stdin.pause();
      void gateway.stop();
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop);
    // A program that started this one holds its standard input: when that closes, it is gone.
    if (withParent) process.stdin.on('end', stop).resume();
    notifier.ready();
  } catch (error) {
    await endEarly();
    if (!(error instanceof ConfigurationRefusal || error instanceof BundleRefusal)) throw error;
    process.stderr.write(`${error.code}: ${error.message}\n`);
    process.exit(2);
  }
}
