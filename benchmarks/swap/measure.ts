import { join } from 'node:path';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { updateStateSchema } from '../../runtime/contracts/update.ts';
import { type Cargo, readBundleCargo } from '../../trainer/fleet/deployment.ts';
import { FleetServer } from '../../trainer/fleet/server.ts';
import { type Disturbance, DisturbanceWatch, familyCpuMs } from '../harness/disturbance.ts';
import { renamedBundle, rollOut } from '../push/bundle-rollout.ts';
import { createFleet, type FleetFolder } from '../push/fleet-folder.ts';
import { GATEWAY, SITE, withMarkedLoad } from '../streams/marked-load.ts';
import type { Quantiles } from '../streams/quantiles.ts';

const SHADOW_WINDOWS = 40;

export interface SwapOptions {
  readonly streams: number;
  /** Of the whole run; the push begins after a third of it. */
  readonly seconds: number;
  readonly bundle: string;
  /** Folder of the built programs. */
  readonly programs: URL;
  progress(line: string): void;
}

export interface SwapResult {
  readonly streams: number;
  readonly seconds: number;
  readonly windowsExpected: number;
  readonly windowsDecided: number;
  readonly windowsLost: number;
  /** Decided twice. */
  readonly windowsDoubled: number;
  /** Windows that each bundle decided, by its short digest. */
  readonly bundles: Readonly<Record<string, number>>;
  /** From frame due to diagnosis received: until the push, from there to the confirmation, and after it. */
  readonly before: Quantiles;
  readonly during: Quantiles;
  readonly after: Quantiles;
  /** All of the run. */
  readonly whole: Quantiles;
  /** From the push to the confirmation. */
  readonly pushSeconds: number;
  readonly disturbance: Disturbance;
}

/** A bundle is pushed to a gateway under live streams: what each window's latency is before, while and after another one decides. */
export async function measureSwap(options: SwapOptions): Promise<SwapResult | { readonly skipped: string }> {
  const { streams, seconds, bundle, progress } = options;
  let fleet: FleetFolder;
  let cargo: Cargo;
  const prepare = async (folder: string) => {
    fleet = await createFleet(folder, SITE);
    cargo = await readBundleCargo(await renamedBundle(bundle, join(folder, 'next'), 'next'), ['core']);
    return { update: { root: fleet.root } };
  };
  return withMarkedLoad(options, prepare, async ({ brokerUrl, client, generator, windowsExpected }) => {
    const server = await FleetServer.tryStart(fleet.repository, { url: brokerUrl, protocolVersion: 4, qos: 1 }, { onEvent: () => {} });
    try {
      await client.subscribeAsync(gatewayTopics(SITE, GATEWAY).updateState, { qos: 1 });
      progress(`${streams} streams for ${seconds} s, a push after ${Math.round(seconds / 3)} s`);
      const watch = new DisturbanceWatch(familyCpuMs);
      generator.begin();
      await new Promise((resolve) => setTimeout(resolve, (1000 * seconds) / 3));
      generator.mark();
      const beganMs = performance.now();
      const deployment = await rollOut(fleet.repository, cargo, `${SITE}/${GATEWAY}`, SHADOW_WINDOWS);
      const confirmed = new Promise<void>((resolve, reject) => {
        client.on('message', (_topic, payload) => {
          const state = updateStateSchema.parse(JSON.parse(payload.toString()));
          if (state.failed.length > 0) reject(new Error(`${deployment} failed: ${state.failed[0].error}`));
          if (state.confirmed.includes(deployment)) resolve();
        });
      });
      const tooSoon = generator.report.then(() => {
        throw new Error('the streams ended before the push was confirmed; give it more --seconds');
      });
      await Promise.race([confirmed, tooSoon]);
      tooSoon.catch(() => {});
      generator.mark();
      const pushSeconds = (performance.now() - beganMs) / 1000;
      progress(`confirmed after ${pushSeconds.toFixed(1)} s`);
      const report = await generator.report;
      const disturbance = watch.finish();
      const [before, during, after] = report.latencyMsByMark;
      const refused = Object.values(report.ledger?.windowsRefused ?? {}).reduce((sum, count) => sum + count, 0);
      return {
        streams,
        seconds,
        windowsExpected,
        windowsDecided: report.windowsDecided,
        windowsLost: windowsExpected - report.windowsDecided - refused,
        windowsDoubled: report.duplicates,
        bundles: report.bundles,
        before,
        during,
        after,
        whole: report.latencyMs,
        pushSeconds,
        disturbance,
      };
    } finally {
      await server!.close();
    }
  });
}
