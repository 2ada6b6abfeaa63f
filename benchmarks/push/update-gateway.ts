import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readBundle, readManifest, sha256 } from '../../models/bundle/bundle.ts';
import { gatewayTopics } from '../../runtime/contracts/topics.ts';
import type { UpdateState } from '../../runtime/contracts/update.ts';
import { AdapterStore } from '../../runtime/io/adapter-store.ts';
import { BrokerLink } from '../../runtime/io/broker-link.ts';
import { brokerOptions } from '../../runtime/io/broker-options.ts';
import { nodeDisk } from '../../runtime/io/update-disk.ts';
import type { UpdateHost } from '../../runtime/io/update-host.ts';
import { UpdateService } from '../../runtime/io/update-service.ts';
import { startProved } from '../../runtime/io/update-start.ts';
import { UpdateStorage } from '../../runtime/io/update-storage.ts';
import { UpdateTrial } from '../../runtime/io/update-trial.ts';
import { StreamMemory } from '../../runtime/stream/stream-memory.ts';
import { UpdateTrust } from '../../runtime/update/trust/refresh.ts';
import { VERSION } from '../../runtime/version.ts';

export interface UpdateGatewayOptions {
  readonly broker: string;
  readonly site: string;
  readonly gateway: string;
  /** Bundle that it was installed with. */
  readonly bundle: string;
  /** File of the repository's first root. */
  readonly root: string;
  readonly stateFolder: string;
  /** Folder of the built programs. */
  readonly programs: URL;
}

export interface UpdateGateway {
  state(): UpdateState;
  stop(): Promise<void>;
}

/**
 * A gateway without sensors: connection, state machine, store on disk, verification of signatures, and a candidate's thread with its known answers and
 * its latency on this CPU are those of a gateway; nothing decides windows.
 *
 * @param onTrouble something went otherwise than it should
 */
export async function startUpdateGateway(
  { broker, site, gateway, bundle, root, stateFolder, programs }: UpdateGatewayOptions,
  onTrouble: (error: string) => void,
): Promise<UpdateGateway> {
  const storage = new UpdateStorage(nodeDisk, stateFolder);
  const adapters = new AdapterStore(join(stateFolder, 'adapters'));
  const started = await startProved(storage, bundle, adapters, idleModel, onTrouble);
  let { loop, folder } = started;
  const bank = new Map<string, string>();
  const host: UpdateHost = {
    running: () => ({ bundle: loop.digest, base: loop.manifest.base }),
    adapters: () => Object.fromEntries(bank),
    windows: () => ({ decided: 0, unanswered: 0 }),
    adapterOf: (stream) => adapters.read(stream),
    async swap(next = bundle) {
      if (next === folder) return;
      loop = await idleModel(next);
      folder = next;
    },
    async setAdapter(stream, bytes) {
      if (bytes) {
        await adapters.write(stream, bytes);
        bank.set(stream, sha256(bytes));
      } else {
        adapters.remove(stream);
        bank.delete(stream);
      }
    },
    async startTrial(of) {
      const { window, channels } = loop.manifest.recipe;
      const memory = new StreamMemory({ streams: 1, window, channels: channels.length });
      const none = () => undefined;
      const active = { manifest: loop.manifest, memory, setTap: none, referenceOf: none, adapterOf: none, adapterFile: none };
      const common = { active, engine: 'onnxruntime', programs } as const;
      if ('folder' in of)
        return UpdateTrial.start({ ...common, bundleFolder: of.folder, manifest: (await readManifest(of.folder)).manifest });
      return UpdateTrial.start({ ...common, bundleFolder: folder, manifest: loop.manifest, adapter: of });
    },
  };
  const trust = new UpdateTrust(site, { referenceTimeMs: 0, 'root.json': await readFile(root), ...(await storage.readTrust()) }, 0);
  let service: UpdateService | undefined;
  const status = JSON.stringify({ state: 'online', gateway, version: VERSION, bundle: { name: loop.manifest.name, digest: loop.digest } });
  const link = new BrokerLink(
    broker,
    () => brokerOptions({ url: broker, protocolVersion: 4, qos: 1 }),
    { clientId: `${site}-${gateway}`, subscriptions: UpdateService.subscriptions(site, gateway) },
    {
      onMessage: (topic, payload) => service?.onMessage(topic, payload),
      onOnline: () => {
        link.publish(gatewayTopics(site, gateway).status, status, true);
        service?.onOnline();
      },
      onOffline: () => {},
      onTrouble,
    },
  );
  service = new UpdateService({
    site,
    gateway,
    trust,
    storage,
    record: started.record,
    host,
    link,
    mayWork: () => true,
    onTrouble: (kind, error) => onTrouble(`${kind}: ${error}`),
  });
  return {
    state: () => service.state(),
    async stop() {
      await service.stop();
      await link.close();
    },
  };
}

/** A bundle whose every file is what its manifest names, and that decides nothing. */
async function idleModel(bundle: string) {
  const { manifest, digest } = await readBundle(bundle);
  return { manifest, digest, status: () => ({ bundle: { digest } }), stop: async () => {} };
}
