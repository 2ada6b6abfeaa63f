import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../refusal.ts';
import type { ModelStore, Replays } from './model-store.ts';
import type { Model, Store } from './store.ts';

export interface ServerErasure {
  /** What was erased, by kind. */
  readonly erased: Readonly<Record<string, number>>;
  /** Models that learned from it, or were made from such: no longer on this server, to be made again. */
  readonly retrain: readonly Pick<Model, 'digest' | 'site' | 'deployment'>[];
  /** Replay sets that went, with their models and from what gateways can fetch. */
  readonly replaySets: number;
}

/**
 * Erases a pseudonym from a server: its samples, signals, labels and adapters, the models that learned from it with their replay windows, and these from
 * what gateways fetch. Gateways that run such a model do so until the next one reaches them; the server makes that of what is left.
 *
 * @throws Refusal server/model, after all else was erased, where a model's manifest cannot be read
 *
 * May be interrupted anywhere and called again, also with a pseudonym that is gone: then it ends what was begun.
 */
export async function eraseFromServer(
  repository: string,
  store: Store,
  kept: ModelStore,
  sites: readonly string[],
  pseudonym: string,
): Promise<ServerErasure> {
  const { erased, models } = await store.erase(pseudonym);
  const tainted = (await Promise.all(sites.map((site) => store.models(site)))).flat().filter(({ state }) => state === 'tainted');
  const isTainted = new Set(tainted.map(({ digest }) => digest));
  const { found: replays, broken }: Replays = tainted.length > 0 ? await kept.replays() : { found: new Map(), broken: [] };
  const living = new Set([...replays].flatMap(([digest, replay]) => (isTainted.has(digest) ? [] : [replay])));
  let replaySets = 0;
  for (const { digest } of tainted) {
    const replay = replays.get(digest);
    // First what gateways could fetch: the model is how it is found again.
    if (replay !== undefined) {
      replaySets++;
      if (!living.has(replay)) await rm(join(repository, 'objects', replay), { force: true });
    }
    await kept.remove(digest);
  }
  if (broken.length > 0)
    throw new Refusal(
      'server/model',
      `all of it is erased, but perhaps not its replay windows in ${join(repository, 'objects')}: ${broken[0].message}, and run it again`,
    );
  return { erased, retrain: models.map(({ digest, site, deployment }) => ({ digest, site, deployment })), replaySets };
}
