import { join } from 'node:path';
import { readManifest } from '../../models/bundle/bundle.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import { type UpdateState, updateStateSchema } from '../../runtime/contracts/update.ts';
import { GATEWAY, SITE, withMarkedLoad } from '../streams/marked-load.ts';
import { writeAdapter } from './adapter-file.ts';
import { createFleet, type FleetFolder } from './fleet-folder.ts';
import { pushAdapter } from './push-command.ts';

const STREAMS = 10;

export interface AdapterPush {
  /** From the command's start until the gateway has said that it has confirmed, seconds; and until the command has ended. */
  readonly confirmedSeconds: number;
  readonly endedSeconds: number;
  /** When the gateway said each phase, seconds after the command's start. */
  readonly phases: Readonly<Record<string, number>>;
  readonly wireBytes: number;
}

export interface AdapterPushOptions {
  readonly times: number;
  readonly bundle: string;
  readonly programs: URL;
  readonly signal?: AbortSignal;
  progress(line: string): void;
}

/** One adapter after the other to one live gateway with some streams on loopback, without a shadow. */
export async function measureAdapterPush(options: AdapterPushOptions): Promise<AdapterPush[] | { readonly skipped: string }> {
  const { times, bundle, programs, signal, progress } = options;
  const { manifest } = await readManifest(bundle);
  let place: string;
  let fleet: FleetFolder;
  const prepare = async (folder: string) => {
    place = folder;
    fleet = await createFleet(folder, SITE);
    return { update: { root: fleet.root } };
  };
  return withMarkedLoad({ streams: STREAMS, seconds: 60 * times, bundle, programs }, prepare, async ({ brokerUrl, client, generator }) => {
    generator.report.catch(() => {});
    generator.begin();
    const { updateState } = gatewayTopics(SITE, GATEWAY);
    const heard: { readonly atMs: number; readonly state: UpdateState }[] = [];
    await new Promise<void>((resolve, reject) => {
      client.on('message', (_topic, payload) => {
        heard.push({ atMs: performance.now(), state: updateStateSchema.parse(JSON.parse(payload.toString())) });
        resolve();
      });
      client.subscribeAsync(updateState, { qos: 1 }).catch(reject);
    });
    const pushes: AdapterPush[] = [];
    for (let index = 0; index < times; index++) {
      const adapter = await writeAdapter(join(place, `adapter-${index}.safetensors`), manifest, index + 1);
      heard.length = 0;
      const beganMs = performance.now();
      const { seconds, report } = await pushAdapter({
        adapter,
        to: `${SITE}/${GATEWAY}`,
        repository: fleet.folder,
        broker: brokerUrl,
        programs,
        signal,
      });
      const ours = heard.filter(({ state }) => state.deployment === report.deployment || state.phase === 'metadata');
      const confirmed = ours.find(({ state }) => state.confirmed.includes(report.deployment));
      if (!confirmed) throw new Error(`${report.deployment} was not confirmed: ${heard.at(-1)?.state.error ?? report.status}`);
      const since = (ms: number) => (ms - beganMs) / 1000;
      pushes.push({
        confirmedSeconds: since(confirmed.atMs),
        endedSeconds: seconds,
        phases: Object.fromEntries(ours.map(({ atMs, state }) => [state.phase, since(atMs)])),
        wireBytes: confirmed.state.wireBytes ?? Number.NaN,
      });
      progress(`${report.deployment}: confirmed after ${since(confirmed.atMs).toFixed(2)} s, command ended after ${seconds.toFixed(2)} s`);
    }
    return pushes;
  });
}
