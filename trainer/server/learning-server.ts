import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readManifest } from '../../models/bundle/bundle.ts';
import type { AdapterStatement } from '../../runtime/contracts/adaptation.ts';
import { writeWhole } from '../../runtime/io/whole-file.ts';
import { beginRollout, type Cargo, type Plan, readAdapterCargo, readBundleCargo, usualBudget } from '../fleet/deployment.ts';
import type { GatewayWatch } from '../fleet/gateway-watch.ts';
import type { Repository } from '../fleet/repository.ts';
import { isOpen, isWithdrawn } from '../fleet/rollout.ts';
import { readRollouts } from '../fleet/rollout-store.ts';
import { groupsOf } from '../fleet/waves.ts';
import { Refusal } from '../refusal.ts';
import type { AverageResult } from './average-job.ts';
import type { ServerConfiguration } from './configuration.ts';
import type { Job } from './jobs.ts';
import { type ModelStore, modelFolder } from './model-store.ts';
import type { Books } from './open-books.ts';
import type { RetrainResult } from './retrain.ts';
import { reasonToRetrain } from './rules.ts';
import type { KeptArrival, Model } from './store.ts';

export type ServerLog = (event: string, details: Record<string, unknown>) => void;

/**
 * What the one leading server does with the books: asks for jobs by the rules, and puts their results into effect. Each step can be cut short anywhere and
 * be taken again: jobs have names, a rollout is known by what it rolls out.
 */
export class LearningServer {
  readonly #configuration: ServerConfiguration;
  readonly #books: Pick<Books, 'store' | 'jobs'>;
  readonly #models: ModelStore;
  readonly #repository: Repository;
  readonly #watch: GatewayWatch;
  readonly #log: ServerLog;

  constructor(
    configuration: ServerConfiguration,
    books: Pick<Books, 'store' | 'jobs'>,
    models: ModelStore,
    repository: Repository,
    watch: GatewayWatch,
    log: ServerLog,
  ) {
    this.#configuration = configuration;
    this.#books = books;
    this.#models = models;
    this.#repository = repository;
    this.#watch = watch;
    this.#log = log;
  }

  /** @throws Error with all that went wrong: what fails for one job or site is in no other's way */
  async pass(): Promise<void> {
    const troubles: string[] = [];
    const attempt = (what: string, work: Promise<void>) =>
      work.catch((error: Error) => {
        troubles.push(`${what}: ${error.message}`);
      });
    for (const job of await this.#books.jobs.unsettled()) await attempt(job.id, this.#settle(job));
    for (const site of await this.#repository.sites()) {
      await attempt(site, this.#followModels(site));
      await attempt(site, this.#askForRetraining(site));
      for (const kind of Object.keys(this.#configuration.kinds)) await attempt(`${site}, ${kind}`, this.#askForAverage(site, kind));
    }
    if (troubles.length > 0) throw new Error(troubles.join('; '));
  }

  /** What a site's gateways run by now, as far as it was made here: where its next model begins. */
  async #base(site: string): Promise<string | undefined> {
    const running = (await this.#books.store.models(site)).filter(({ state }) => state === 'running').at(-1);
    if (running) return running.digest;
    return this.#configuration.retrain && (await readManifest(this.#configuration.retrain.bundle)).digest;
  }

  async #askForRetraining(site: string): Promise<void> {
    const { retrain: rules } = this.#configuration;
    const { store, jobs } = this.#books;
    const base = await this.#base(site);
    const models = await store.models(site);
    // A model that is on its way answers what came before it.
    if (!rules || !base || models.some(({ state }) => state === 'offered')) return;
    const tainted = models.filter(({ state }) => state === 'tainted').length;
    const runsTainted = models.findLast(({ state }) => state !== 'withdrawn')?.state === 'tainted';
    await this.#models.share(base);
    const asked = await store.consider(site, async (facts, queries) => {
      if (await jobs.isBusy(queries, site, 'retrain')) return undefined;
      const erased = runsTainted && facts.labels >= rules.leastLabels ? 'what runs holds what was erased' : undefined;
      const why = erased ?? reasonToRetrain(facts, rules);
      if (!why) return undefined;
      const id = `retrain-${site}-${facts.last}-${tainted}`;
      await jobs.add({ id, kind: 'retrain', site, input: { base, through: facts.last, why } }, queries);
      await store.mark(queries, site, facts.last);
      return { id, why };
    });
    if (asked) this.#log('asked', asked);
  }

  /** The newest adapters of a kind of machine, once there are two that fit what runs, and again whenever one of them is new. */
  async #askForAverage(site: string, kind: string): Promise<void> {
    const bundle = await this.#base(site);
    if (!bundle) return;
    await this.#models.share(bundle);
    const { base } = (await readManifest(await modelFolder(this.#models, this.#configuration, bundle))).manifest;
    const patterns = this.#configuration.kinds[kind].map(asPattern);
    const newest = new Map<string, KeptArrival>();
    for (const arrival of await this.#books.store.arrivals(site, 'adapter')) {
      const name = `${site}/${arrival.gateway}/${arrival.stream}`;
      const { statement } = JSON.parse(arrival.body) as { statement: AdapterStatement };
      if (statement.base === base && patterns.some((pattern) => pattern.test(name))) newest.set(name, arrival);
    }
    if (newest.size < 2) return;
    const adapters = [...newest.values()].map(({ gateway, stream, id }) => ({ gateway, stream, id }));
    const name = createHash('sha256')
      .update(JSON.stringify([bundle, adapters]))
      .digest('hex')
      .slice(0, 16);
    const id = `average-${site}-${name}`;
    if (await this.#books.jobs.add({ id, kind: 'average', site, input: { site, kind, bundle, adapters } }))
      this.#log('asked', { id, why: `${adapters.length} machines of kind ${kind} have learned` });
  }

  async #settle(job: Job): Promise<void> {
    try {
      const effect = job.kind === 'retrain' ? await this.#settleRetraining(job) : await this.#settleAverage(job);
      if (effect === undefined) return;
      await this.#books.jobs.settle(job.id, effect);
      this.#log('settled', { id: job.id, effect });
    } catch (error) {
      // Another rollout is under way there: later.
      if (!(error instanceof Refusal) || error.code !== 'push/busy') throw error;
    }
  }

  async #settleRetraining({ id, site, result }: Job): Promise<string | undefined> {
    const { outcome, reason, digest, parent, quarantined, windows, labels, pseudonyms } = result as RetrainResult;
    const { store } = this.#books;
    for (const { gateway, label, reason: why } of quarantined) await store.quarantine(site, gateway, 'label', [label], why);
    if (outcome === 'refused' || digest === undefined) return `refused: ${reason}`;
    const model: Model = { digest, site, parent, job: id, madeMs: Date.now(), state: 'offered', windows, labels };
    if ((await store.addModel(model, pseudonyms)) === 'tainted') {
      await this.#models.remove(digest);
      return 'refused: it holds what was erased';
    }
    const gateways = this.#gatewaysOf(site);
    // Nobody there yet: a broker that has just come back tells soon.
    if (gateways.length === 0) return undefined;
    const folder = await modelFolder(this.#models, this.#configuration, digest);
    const cargo = await readBundleCargo(folder, this.#configuration.rollout.adapt ? ['core', 'adapt'] : ['core']);
    const deployment = await this.#rollOut(cargo, gateways);
    await store.setModel(digest, { state: 'offered', deployment });
    return deployment;
  }

  async #settleAverage({ site, result }: Job): Promise<string> {
    const { outcome, reason, offers, quarantined, file } = result as AverageResult;
    for (const { gateway, id, reason: why } of quarantined) await this.#books.store.quarantine(site, gateway, 'adapter', [id], why);
    if (outcome === 'refused' || file === undefined) return `refused: ${reason}`;
    const bytes = Buffer.from(file, 'base64');
    const path = join(this.#configuration.artifacts, `${createHash('sha256').update(bytes).digest('hex')}.safetensors`);
    await writeWhole(path, bytes);
    const deployments: string[] = [];
    for (const { gateway, stream } of offers)
      deployments.push(await this.#rollOut(await readAdapterCargo(path, stream), [`${site}/${gateway}`]));
    return deployments.join(' ');
  }

  /** Begins a rollout, or finds the one that was begun before somebody was killed. @throws Refusal push/busy */
  async #rollOut(cargo: Cargo, gateways: readonly string[]): Promise<string> {
    const stream = cargo.target.kind === 'adapter' ? cargo.target.stream : undefined;
    const begun = (await readRollouts(this.#repository)).find(
      ({ target, groups }) =>
        target.sha256 === cargo.target.sha256 &&
        (target.kind === 'adapter' ? target.stream : undefined) === stream &&
        groups.some((group) => group.gateways.includes(gateways[0])),
    );
    if (begun) return begun.deployment;
    return (await beginRollout(this.#repository, cargo, this.#plan(cargo, gateways), new Date())).deployment;
  }

  #plan(cargo: Cargo, gateways: readonly string[]): Plan {
    const { waves, success, error, silentAfter, settle, memoryMib, adapt: _adapt, ...thresholds } = this.#configuration.rollout;
    return {
      groups: groupsOf(waves, gateways),
      rules: { success, error, silentAfterMs: silentAfter, settleMs: settle },
      thresholds: { ...thresholds, memoryBytes: memoryMib * 2 ** 20 },
      budgetBytes: usualBudget(cargo),
      platforms: [],
    };
  }

  #gatewaysOf(site: string): string[] {
    return this.#watch
      .gateways()
      .map(({ name }) => name)
      .filter((name) => name.startsWith(`${site}/`));
  }

  /** What has become of models on their way. */
  async #followModels(site: string): Promise<void> {
    const { store } = this.#books;
    const offered = (await store.models(site)).filter(({ state, deployment }) => state === 'offered' && deployment !== undefined);
    if (offered.length === 0) return;
    const rollouts = await readRollouts(this.#repository);
    for (const { digest, deployment } of offered) {
      const rollout = rollouts.find((one) => one.deployment === deployment);
      if (!rollout || isOpen(rollout)) continue;
      const state = isWithdrawn(rollout) ? 'withdrawn' : 'running';
      await store.setModel(digest, { state });
      this.#log('model', { digest, state, deployment, reason: rollout.reason });
    }
  }
}

/** `*` stands for any letters of one level. */
function asPattern(name: string): RegExp {
  const parts = name.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[^/]*')}$`);
}
