import { join } from 'node:path';
import { startGatewayUnderTest } from '../streams/gateway-under-test.ts';
import type { LoadOrder } from '../streams/load-protocol.ts';
import { startGenerator } from '../streams/measure.ts';
import { createFleet, type FleetFolder } from './fleet-folder.ts';

/**
 * A gateway that takes updates and the streams that it decides meanwhile.
 *
 * @param closers what ends them is put first
 * @param folder of the run, for the fleet's repository and the gateway's state
 */
export async function startLoadedGateway(
  { plan, ...order }: LoadOrder,
  { bundle, programs, folder }: { readonly bundle: string; readonly programs: URL; readonly folder: string },
  closers: (() => Promise<unknown>)[],
): Promise<{ readonly fleet: FleetFolder; readonly generator: ReturnType<typeof startGenerator> }> {
  const { site, gateway, broker } = order;
  const fleet = await createFleet(folder, site);
  const configuration = {
    site,
    gateway,
    bundle,
    broker: { url: broker },
    largestStreams: plan.streams,
    stateFolder: join(folder, 'state'),
    update: { root: fleet.root },
  };
  const running = await startGatewayUnderTest(configuration, programs, folder, undefined);
  closers.unshift(running.stop);
  const generator = startGenerator({ ...order, plan }, programs);
  closers.unshift(generator.stop);
  return { fleet, generator };
}
