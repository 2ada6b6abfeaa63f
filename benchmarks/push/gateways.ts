import { join } from 'node:path';
import { startUpdateGateway } from './update-gateway.ts';

/** A process of its own with some gateways. It prints `ready` when all have begun, and ends with its standard input. */

export interface GatewaysOrder {
  readonly broker: string;
  readonly site: string;
  readonly gateways: readonly string[];
  readonly bundle: string;
  readonly root: string;
  /** Each gateway's state lies in a folder of its name herein. */
  readonly folder: string;
}

const { gateways, folder, ...order } = JSON.parse(process.argv[2]) as GatewaysOrder;
const programs = new URL('./', import.meta.url);
const running = await Promise.all(
  gateways.map((gateway) =>
    startUpdateGateway({ ...order, gateway, stateFolder: join(folder, gateway), programs }, (error) =>
      process.stderr.write(`${gateway}: ${error}\n`),
    ),
  ),
);
process.stdout.write('ready\n');
process.stdin.resume().once('end', () => {
  void Promise.all(running.map((one) => one.stop())).then(() => process.exit());
});
