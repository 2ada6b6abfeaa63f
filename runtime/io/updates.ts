import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { readManifest } from '../../models/bundle/bundle.ts';
import type { DecisionLoop, DecisionLoopOptions } from '../decision-loop.ts';
import { UpdateTrust } from '../update/trust/refresh.ts';
import { TrustRefusal } from '../update/trust/refusal.ts';
import type { TrustRecord } from '../update/trust/trusted-metadata.ts';
import { BUILT_MS } from '../version.ts';
import { AdapterStore } from './adapter-store.ts';
import { BrokerLink } from './broker-link.ts';
import { brokerOptions } from './broker-options.ts';
import { ConfigurationRefusal, type GatewayConfiguration } from './configuration.ts';
import type { LimitedLog } from './limited-log.ts';
import { nodeDisk } from './update-disk.ts';
import { loopHost } from './update-host.ts';
import { type UpdateMilestone, UpdateService } from './update-service.ts';
import { type ProvedStart, startProved } from './update-start.ts';
import { UpdateStorage } from './update-storage.ts';

/** Updates of a live gateway: which bundle it starts with, and a connection of their own, so that no sample waits behind a chunk. */
export class Updates {
  readonly #configuration: GatewayConfiguration;
  readonly #options: DecisionLoopOptions;
  readonly #limited: LimitedLog;
  readonly #log: Pick<Logger, 'info'>;
  readonly #storage: UpdateStorage;
  #started: ProvedStart<DecisionLoop> | undefined;
  #service: UpdateService | undefined;
  #link: BrokerLink | undefined;

  constructor(configuration: GatewayConfiguration, options: DecisionLoopOptions, limited: LimitedLog, log: Pick<Logger, 'info'>) {
    this.#configuration = configuration;
    this.#options = options;
    this.#limited = limited;
    this.#log = log;
    this.#storage = new UpdateStorage(nodeDisk, configuration.stateFolder);
  }

  /** @throws BundleRefusal where not even the configuration's bundle is proved */
  async startLoop(start: (folder: string) => Promise<DecisionLoop>): Promise<DecisionLoop> {
    this.#storage.objects.lookIn(await filesOf(this.#configuration.bundle));
    const { folder, configured } = this.#options.adapters!;
    const adapters = new AdapterStore(folder, configured);
    this.#started = await startProved(this.#storage, this.#configuration.bundle, adapters, start, (error) => this.#warn('start', error));
    return this.#started.loop;
  }

  /**
   * Begins to look for updates.
   *
   * @param mayWork false while another gateway has our name
   * @throws ConfigurationRefusal where the root is none
   */
  async connect(loop: DecisionLoop, clientId: string, mayWork: () => boolean): Promise<void> {
    const { site, gateway, broker, bundle } = this.#configuration;
    const { record } = this.#started!;
    const trust = await this.#trust();
    const link = new BrokerLink(
      broker.url,
      () => brokerOptions(broker),
      { clientId, subscriptions: UpdateService.subscriptions(site, gateway) },
      {
        onMessage: (topic, payload) => this.#service?.onMessage(topic, payload),
        onOnline: () => this.#service?.onOnline(),
        onOffline: () => {},
        onTrouble: (error) => this.#warn('connection', error),
      },
    );
    this.#link = link;
    const host = loopHost(loop, bundle, this.#options);
    const onTrouble = (kind: string, error: string) => this.#warn(kind, error);
    const onMilestone = (milestone: UpdateMilestone) => {
      // Metadata that are not to be trusted come again with each timestamp.
      if (milestone.phase === 'refused' && milestone.deployment === undefined) this.#warn('refused', milestone.error!);
      else this.#log.info(milestone, 'update');
    };
    this.#service = new UpdateService({
      site,
      gateway,
      trust,
      storage: this.#storage,
      record,
      host,
      link,
      mayWork,
      onTrouble,
      onMilestone,
    });
  }

  async stop(): Promise<void> {
    await this.#service?.stop();
    await this.#link?.close();
  }

  async #trust(): Promise<UpdateTrust> {
    const { site, update } = this.#configuration;
    const kept = await this.#storage.readTrust();
    if (kept?.damage) this.#warn('trust', `${kept.damage}: what it knew of older versions is lost`);
    const { damage: _, ...left } = kept ?? { referenceTimeMs: 0 };
    if (left['root.json'])
      try {
        return new UpdateTrust(site, left as TrustRecord, BUILT_MS);
      } catch (error) {
        this.#warn('trust', (error as Error).message);
      }
    try {
      // What a disk has spoilt is fetched again, from the root that the gateway was installed with; the time and what else is left still bind.
      return new UpdateTrust(site, { ...left, 'root.json': await readFile(update!.root) }, BUILT_MS);
    } catch (cause) {
      if (!(cause instanceof TrustRefusal)) throw cause;
      throw new ConfigurationRefusal(`update: root: ${update!.root}: ${cause.message}; copy the repository's root.json again`, { cause });
    }
  }

  #warn(kind: string, error: string): void {
    this.#limited.warn(`update ${kind}`, { update: kind, error }, 'update');
  }
}

/** The files of a bundle by their digests; whether they have them is proved when one is wanted. */
async function filesOf(folder: string): Promise<Map<string, string>> {
  const { manifest } = await readManifest(folder);
  const files = Object.values(manifest.parts).flatMap((part) => Object.entries(part ?? {}));
  return new Map(files.map(([name, { sha256 }]) => [sha256, join(folder, name)]));
}
